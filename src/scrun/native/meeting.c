/* The directory in which the hooks `inside` and `flush` meet the agent: 0700, made by the agent, named at random for
 * the container, and for the task among those of its node. */
#include "node.h"

char meeting_directory[96];

/* The hooks may have been given no environment, so what doesn't depend on it comes first. */
static const char *place(int i, char *const *environment) {
    if (i == 0) return "/tmp";
    if (i == 1) return "/dev/shm";
    return variable(environment, i == 2 ? "TMPDIR" : "XDG_RUNTIME_DIR");
}
#define PLACES 4

/* The i-th place's directory, into meeting_directory; 0 if there is none, or its name is too long for a socket's. */
static int name(int i, const struct state *state, char *const *environment) {
    const char *parent = place(i, environment);
    struct sha256 hash;
    uint8_t digest[32];
    if (!parent || *parent != '/' || strlen(parent) > 30) return 0;
    sha256_begin(&hash);
    sha256_add(&hash, state->id, strlen(state->id));
    sha256_end(&hash, digest);
    struct text to = {meeting_directory, 0, sizeof meeting_directory};
    put(&to, parent);
    put(&to, "/");
    put(&to, settings.meeting);
    put(&to, "-");
    for (int k = 0; k < 8; k++) put_bytes(&to, &"0123456789abcdef"[digest[k / 2] >> (k % 2 ? 0 : 4) & 15], 1);
    return 1;
}

static void put_socket(struct sockaddr_un *to) {
    memset(to, 0, sizeof *to);
    to->sun_family = AF_UNIX;
    struct text path = {to->sun_path, 0, sizeof to->sun_path};
    put(&path, meeting_directory);
    put(&path, "/s");
}

/* Whether a file in the directory has room for a byte; 0 or an errno. A socket needs none; what EXEC writes does. */
static int try_room(void) {
    TEXT(path, 128);
    put(&path, meeting_directory);
    put(&path, "/room");
    int fd = open(path.start, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600L);
    int error = fd >= 0 && write(fd, "", 1) == 1 ? 0 : errno;
    if (fd >= 0) close(fd);
    unlink(path.start);
    return error;
}

/* The socket in the directory, listening; -1 with an errno. */
static int listen_here(void) {
    struct sockaddr_un at;
    put_socket(&at);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && !bind(fd, (struct sockaddr *)&at, sizeof at) && !listen(fd, 16)) return fd;
    int error = errno;
    if (fd >= 0) close(fd);
    errno = error;
    return -1;
}

/* systemd-tmpfiles goes into no directory that is locked (flock(2)), however old its files are. */
static int spare(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) flock(fd, LOCK_SH | LOCK_NB);
    return fd;
}

static void spare_meeting(void) {
    static int lock = -1;
    if (lock >= 0) close(lock);
    lock = spare(meeting_directory);
}

/* The first place's error counts, since /tmp is where one looks for the cause. */
static int make_one(const struct state *state, char *const *environment) {
    int first = 0;
    for (int i = 0; i < PLACES; i++) {
        if (!name(i, state, environment)) continue;
        int error = mkdir(meeting_directory, 0700) ? errno : 0, is_made = !error;
        if (is_made && !(error = try_room())) {
            int fd = listen_here();
            if (fd >= 0) {
                spare_meeting();
                return fd;
            }
            error = errno;
        }
        if (is_made) part();
        if (!first) first = error;
    }
    errno = first;
    return -1;
}

int meet(const struct state *state, char *const *environment) {
    int fd = make_one(state, environment);
    if (fd < 0) die("cannot make a directory in /tmp or /dev/shm on this node", NULL, errno);
    for (int i = 0; i < 2; i++)
        if (*settings.carried[i]) spare(settings.carried[i]);
    return fd;
}

/* A cleaner of /tmp may have removed ours; then its name is anybody's. */
int is_own_directory(const char *path) {
    struct stat directory;
    return !lstat(path, &directory) && S_ISDIR(directory.st_mode) && directory.st_uid == geteuid() &&
           !(directory.st_mode & 077);
}

int meet_again(int fd, const struct state *state, char *const *environment) {
    struct sockaddr_un at;
    struct stat there;
    put_socket(&at);
    int is_there = is_own_directory(meeting_directory), again;
    if (is_there && !lstat(at.sun_path, &there)) return fd;
    if ((again = is_there ? listen_here() : make_one(state, environment)) < 0) return fd;
    close(fd);
    return again;
}

int join(const struct state *state, char *const *environment) {
    struct sockaddr_un at;
    for (int i = 0; i < PLACES; i++) {
        if (!name(i, state, environment) || !is_own_directory(meeting_directory)) continue;
        put_socket(&at);
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd >= 0 && !connect(fd, (struct sockaddr *)&at, sizeof at)) return fd;
        if (fd >= 0) close(fd);
        return -1; /* the agent has been killed */
    }
    *meeting_directory = 0;
    return -1;
}

/* Removes the directory, with what a runtime that didn't end has left in it. */
void part(void) {
    struct sockaddr_un at;
    if (!is_own_directory(meeting_directory)) return;
    put_socket(&at);
    unlink(at.sun_path);
    if (!rmdir(meeting_directory) || errno != ENOTEMPTY) return;
    run_remove_files();
    rmdir(meeting_directory);
}
