/* The processes of the container: those in the pid or the mount namespace of its first process, where that isn't the
 * node's own; those that EXEC has run; and the descendants of all these, which may be in namespaces of their own. */
#include "node.h"

#ifndef AT_FIRST /* entries; the table grows with what is found, in the tests from the beginning */
#define AT_FIRST 4096
#endif
#define LOOKS_AT_ONCE 20
#define LOOKS 150
#define BETWEEN_LOOKS 50
#define KILLS 150

struct entry {
    pid_t pid, parent;
    uint64_t begun; /* with the pid, this is one process only */
    char state, member;
};
static struct entry *table; /* the node's processes, in the order of their pids */
static size_t count, room;

static struct namespace {
    dev_t device;
    ino_t inode;
} namespaces[2]; /* of the container's first process; an inode of 0: the node's own, which tells nothing */
static const char *const kinds[2] = {"pid", "mnt"};

/* A process's namespace; an inode of 0: it can't be seen. */
static struct namespace namespace_of(pid_t pid, const char *kind) {
    struct stat found;
    struct namespace n = {0, 0};
    TEXT(path, 64);
    put(&path, "/proc/");
    put_number(&path, (uint64_t)pid);
    put(&path, "/ns/");
    put(&path, kind);
    if (!stat(path.start, &found)) {
        n.device = found.st_dev;
        n.inode = found.st_ino;
    }
    return n;
}

static int are_same(struct namespace a, struct namespace b) {
    return a.inode && a.inode == b.inode && a.device == b.device;
}

void members_begin(pid_t first) {
    for (int i = 0; i < 2; i++) {
        namespaces[i] = namespace_of(first, kinds[i]);
        if (are_same(namespaces[i], namespace_of(getpid(), kinds[i]))) namespaces[i].inode = 0;
    }
}

static int first_has_ended(void) { return processes[0].stage >= ENDED; }

/* By itself, that is without its parent. */
static int belongs(pid_t pid) {
    if (pid == agent.state.pid) return !first_has_ended();
    for (int i = 0; i < 2; i++)
        if (namespaces[i].inode && are_same(namespaces[i], namespace_of(pid, kinds[i]))) return 1;
    for (const struct process *p = processes + 1; p < processes + PROCESSES; p++)
        if (p->kind == EXECUTED && p->stage == RUNNING && p->pid == pid) return 1;
    return 0;
}

static uint64_t read_field(const char **at) {
    uint64_t number = 0;
    while (**at == ' ') ++*at;
    for (; **at > ' '; ++*at) number = number * 10 + (uint64_t)(**at - '0');
    return number;
}

/* What /proc/PID/stat says: "PID (NAME) STATE PARENT …", and as the 22nd when it began; -1 if it is gone. */
static int look_at(pid_t pid, struct entry *e) {
    char text[1024];
    TEXT(path, 64);
    put(&path, "/proc/");
    put_number(&path, (uint64_t)pid);
    put(&path, "/stat");
    size_t end = read_file(path.start, text, sizeof text);
    while (end && text[end] != ')') end--;
    if (!end || !text[end + 1] || !text[end + 2]) return -1;
    const char *at = text + end + 3;
    e->pid = pid;
    e->state = text[end + 2];
    e->parent = (pid_t)read_field(&at);
    for (int field = 5; field <= 22; field++) e->begun = read_field(&at);
    return 0;
}

static const struct entry *find(pid_t pid) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (table[middle].pid < pid)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && table[low].pid == pid ? &table[low] : NULL;
}

static void mark_descendants(void) {
    for (int changed = 1; changed;) {
        changed = 0;
        for (struct entry *e = table; e < table + count; e++) {
            const struct entry *parent = e->member ? NULL : find(e->parent);
            if (parent && parent->member) e->member = (char)(changed = 1);
        }
    }
}

static void forget(void) {
    if (table) munmap(table, room * sizeof *table);
    table = NULL;
    count = room = 0;
}

/* Whether there is an entry more. */
static int has_room(void) {
    if (count < room) return 1;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    size_t more = room ? 2 * room : AT_FIRST;
    struct entry *larger = mmap(NULL, more * sizeof *larger, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (larger == MAP_FAILED) return 0;
    if (table) {
        memcpy(larger, table, count * sizeof *table);
        munmap(table, room * sizeof *table);
    }
    table = larger;
    room = more;
    return 1;
}

/* Fills the table; forget() must follow. */
static void scan(void) {
    _Alignas(8) char names[8192];
    long length;
    struct { /* what getdents64 gives */
        uint64_t inode, offset;
        uint16_t size;
        uint8_t type;
        char name[];
    } *each;
    int processes_directory = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while ((length = syscall(SYS_getdents64, (long)processes_directory, names, sizeof names, 0L, 0L, 0L)) > 0)
        for (long at = 0; at < length; at += each->size) {
            each = (void *)(names + at);
            long pid = read_number(each->name);
            if (pid < 1 || pid == getpid() || !has_room()) continue;
            struct entry *e = &table[count];
            if (look_at((pid_t)pid, e)) continue;
            e->member = (char)belongs(e->pid);
            count++;
        }
    if (processes_directory >= 0) close(processes_directory);
    mark_descendants();
}

/* The pid may have gone to another process since it was looked at; a pidfd can't. */
static int send_to(const struct entry *e, int number) {
    struct entry now;
    int fd = (int)syscall(SYS_pidfd_open, (long)e->pid, 0L, 0L, 0L, 0L, 0L);
    if (fd < 0) return -1;
    int same = !look_at(e->pid, &now) && now.begun == e->begun;
    long done = same ? syscall(SYS_pidfd_send_signal, (long)fd, (long)number, 0L, 0L, 0L, 0L) : -1;
    close(fd);
    return (int)done;
}

static int send_to_all(int number) {
    int sent = 0;
    scan();
    for (const struct entry *e = table; e < table + count; e++)
        if (e->member && e->state != 'Z' && e->state != 'X') sent += send_to(e, number) == 0;
    forget();
    return sent;
}

void members_signal(uint32_t request, int number) {
    int sent = send_to_all(number);
    frame_answer(0, request, sent ? 0 : ESRCH, "");
}

void members_kill(void) {
    for (int times = 0; times < KILLS && send_to_all(SIGKILL); times++) {
        poll(NULL, 0, 20);
        run_reap();
    }
}

int members_file(void) {
    int fd = memfd_create("scrun-members", MFD_CLOEXEC);
    scan();
    for (const struct entry *e = table; e < table + count; e++) {
        if (!e->member || e->state == 'Z' || e->state == 'X') continue;
        TEXT(line, 16);
        put_number(&line, (uint64_t)e->pid);
        put(&line, "\n");
        if (write(fd, line.start, line.length) < 0) break;
    }
    forget();
    lseek(fd, 0, SEEK_SET);
    return fd;
}

/* ---- STOP and CONTINUE ---- */

static uint32_t stop_request;
static int stopping, quiet_looks, looks;
static long next_look;

/* Whose child was stopped between vfork(2) and execve(2) waits for it, in D, with its own SIGSTOP pending. */
static int is_stop_pending(pid_t pid) {
    char text[16384];
    TEXT(path, 64);
    put(&path, "/proc/");
    put_number(&path, (uint64_t)pid);
    put(&path, "/status");
    read_file(path.start, text, sizeof text);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (strncmp(line, "ShdPnd:", 7) || strlen(line) < 24) continue;
        char digit = line[8 + 11]; /* of the 16 hex digits the one with bits 16 to 19; SIGSTOP's is 18 */
        int value = digit <= '9' ? digit - '0' : digit - 'a' + 10;
        return value >> 2 & 1;
    }
    return 0;
}

static int has_stopped(const struct entry *e) {
    return strchr("TtZX", e->state) || (e->state == 'D' && is_stop_pending(e->pid));
}

void members_stop(uint32_t request) {
    if (stopping) {
        frame_answer(0, request, EALREADY, "");
        return;
    }
    stop_request = request;
    stopping = 1;
    quiet_looks = looks = 0;
    next_look = 0;
    members_look();
}

int members_wait(void) {
    if (!stopping) return -1;
    long left = next_look - milliseconds();
    return left > 0 ? (int)left : 0;
}

static void stop_ends(int error, pid_t pid) {
    TEXT(text, 64);
    if (error) {
        put(&text, "process ");
        put_number(&text, (uint64_t)pid);
        put(&text, " doesn't stop");
    }
    frame_answer(0, stop_request, error, text.start);
    stopping = 0;
}

void members_look(void) {
    if (!stopping || milliseconds() < next_look) return;
    pid_t last = 0;
    scan();
    for (const struct entry *e = table; e < table + count; e++)
        if (e->member && !has_stopped(e)) {
            send_to(e, SIGSTOP);
            last = e->pid;
        }
    forget();
    quiet_looks = last ? 0 : quiet_looks + 1;
    looks++;
    next_look = milliseconds() + (looks < LOOKS_AT_ONCE ? 1 : BETWEEN_LOOKS);
    if (quiet_looks == 2) stop_ends(0, 0);
    else if (looks == LOOKS) stop_ends(EBUSY, last);
}

void members_continue(uint32_t request) {
    if (stopping) stop_ends(ECANCELED, 0);
    scan();
    for (const struct entry *e = table; e < table + count; e++)
        if (e->member && (e->state == 'T' || (e->state == 'D' && is_stop_pending(e->pid)))) send_to(e, SIGCONT);
    forget();
    frame_answer(0, request, 0, "");
}
