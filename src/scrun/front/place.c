/* The container's directory ROOT/ID: where it is, whose it is, and its removal (as container/directory.py). */
#include "front.h"

#define DEEPEST 32

/* The caller's uid in the machine's own user namespace, as identity.real_uid finds it. */
static uint64_t real_uid(void) {
    static char map[65536];
    uint64_t uid = getuid(), fields[3];
    read_file("/proc/self/uid_map", map, sizeof map);
    const char *at = map;
    while (*at) {
        for (int i = 0; i < 3; i++) {
            while (*at == ' ') at++;
            if (*at < '0' || *at > '9') python();
            for (fields[i] = 0; *at >= '0' && *at <= '9'; at++) fields[i] = fields[i] * 10 + (uint64_t)(*at - '0');
        }
        if (*at != '\n') python();
        at++;
        if (fields[0] <= uid && uid < fields[0] + fields[2]) return fields[1] + uid - fields[0];
    }
    return uid;
}

static int is_valid_id(const char *id) {
    size_t length = strlen(id);
    if (!length || length > 255 || *id == '.') return 0; /* a file's name has no more than 255 bytes */
    for (; *id; id++)
        if (!((*id >= 'a' && *id <= 'z') || (*id >= 'A' && *id <= 'Z') || (*id >= '0' && *id <= '9') ||
              strchr("_+-.", *id)))
            return 0;
    return 1;
}

void open_place(struct place *to, const struct call *call) {
    TEXT(standard, 64);
    const char *root = call->values[ROOT];
    if (!is_valid_id(call->id)) python();
    if (!root || !*root) {
        put(&standard, "/run/user/");
        put_number(&standard, real_uid());
        put(&standard, "/scrun");
        root = standard.start;
    }
    for (const char *at = root; *at; at++)
        if (at[0] == '.' && at[1] == '.') python(); /* os.path.abspath takes it for the directory above, link or not */
    to->id = call->id;
    to->root = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    to->directory = openat(to->root, call->id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (to->root >= 0 && to->directory < 0 && errno == ENOENT) delete_missing(to, call);
    if (to->root < 0 || to->directory < 0) python();
    held = to->directory;
}

void check_owner(const struct place *place) {
    struct stat facts;
    if (fstat(place->directory, &facts) || facts.st_uid != geteuid()) python();
}

int has_file(const struct place *place, const char *name) {
    return faccessat(place->directory, name, F_OK, 0) == 0;
}

struct entry { /* getdents64(2) */
    uint64_t inode;
    int64_t next;
    uint16_t length;
    uint8_t type;
    char name[];
};

/* Removes everything below an open directory, following no symlink and entering no other file system. */
static void empty(int directory, dev_t device, int depth) {
    _Alignas(struct entry) char buffer[4096];
    long size;
    fchmod(directory, 0700);
    if (depth > DEEPEST || lseek(directory, 0, SEEK_SET)) python();
    while ((size = syscall(SYS_getdents64, (long)directory, buffer, (long)sizeof buffer, 0L, 0L, 0L)) > 0)
        for (long at = 0; at < size;) {
            struct entry *entry = (struct entry *)(buffer + at);
            at += entry->length;
            if (!strcmp(entry->name, ".") || !strcmp(entry->name, "..")) continue;
            if (!unlinkat(directory, entry->name, 0) || errno == ENOENT) continue;
            if (errno != EISDIR && errno != EPERM) python();
            struct stat facts;
            int below = openat(directory, entry->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (below < 0 || fstat(below, &facts) || facts.st_dev != device) python();
            empty(below, device, depth + 1);
            close(below);
            if (unlinkat(directory, entry->name, AT_REMOVEDIR)) python();
        }
    if (size < 0) python();
}

void remove_place(const struct place *place) {
    struct stat ours, there;
    if (fstat(place->directory, &ours)) python();
    empty(place->directory, ours.st_dev, 0);
    if (fstatat(place->root, place->id, &there, AT_SYMLINK_NOFOLLOW)) {
        if (errno == ENOENT) return;
        python();
    }
    if (there.st_dev != ours.st_dev || there.st_ino != ours.st_ino) return; /* another of that id, made meanwhile */
    if (unlinkat(place->root, place->id, AT_REMOVEDIR) && errno != ENOENT) python();
}
