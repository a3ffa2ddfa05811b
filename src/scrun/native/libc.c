/* What scrun's native programs use of a C library, straight on the kernel, so that they are small, static, and need no
 * library to be built. The names, and what they do, are those of the C library, whose headers declare them; the tests
 * build the other files with the C library instead of this one. */
#include <stdarg.h>
#include <stddef.h>

#include "arch.h"
#include "base.h"

PROGRAM_START

static int error_number;
int *__errno_location(void) { return &error_number; }

__attribute__((used)) void begin(long *stack) {
    char **arguments = (char **)(stack + 1);
    _exit(main((int)stack[0], arguments, arguments + stack[0] + 1));
}

static long result(long value) {
    if (value >= 0 || value < -4095) return value;
    error_number = (int)-value;
    return -1;
}

#define SIX(number, a, b, c, d, e, f, ...) \
    result(system_call(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f)))
#define CALL(type, declared, ...) \
    type declared { return (type)SIX(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0); }

CALL(ssize_t, read(int fd, void *to, size_t size), SYS_read, fd, to, size)
CALL(ssize_t, write(int fd, const void *from, size_t size), SYS_write, fd, from, size)
CALL(int, close(int fd), SYS_close, fd)
CALL(int, dup2(int from, int to), SYS_dup3, from, to, 0) /* but for two equal ones, which nobody has here */
CALL(int, pipe2(int ends[2], int flags), SYS_pipe2, ends, flags)
CALL(int, unlink(const char *path), SYS_unlinkat, AT_FDCWD, path, 0)
CALL(int, rmdir(const char *path), SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR)
CALL(int, mkdir(const char *path, mode_t mode), SYS_mkdirat, AT_FDCWD, path, mode)
CALL(int, symlink(const char *to, const char *path), SYS_symlinkat, to, AT_FDCWD, path)
CALL(int, chmod(const char *path, mode_t mode), SYS_fchmodat, AT_FDCWD, path, mode)
CALL(int, fchmod(int fd, mode_t mode), SYS_fchmod, fd, mode)
CALL(int, fchown(int fd, uid_t user, gid_t group), SYS_fchown, fd, user, group)
CALL(int, chdir(const char *path), SYS_chdir, path)
CALL(int, fchdir(int fd), SYS_fchdir, fd)
CALL(int, stat(const char *path, struct stat *to), SYS_newfstatat, AT_FDCWD, path, to, 0)
CALL(int, lstat(const char *path, struct stat *to), SYS_newfstatat, AT_FDCWD, path, to, AT_SYMLINK_NOFOLLOW)
CALL(int, fstat(int fd, struct stat *to), SYS_newfstatat, fd, "", to, AT_EMPTY_PATH)
CALL(int, fstatat(int fd, const char *path, struct stat *to, int flags), SYS_newfstatat, fd, path, to, flags)
CALL(int, faccessat(int fd, const char *path, int mode, int flags), SYS_faccessat, fd, path, mode, flags)
CALL(int, unlinkat(int fd, const char *path, int flags), SYS_unlinkat, fd, path, flags)
CALL(int, flock(int fd, int what), SYS_flock, fd, what)
CALL(int, fstatfs(int fd, struct statfs *to), SYS_fstatfs, fd, to)
CALL(int, mount(const char *from, const char *to, const char *type, unsigned long flags, const void *data),
     SYS_mount, from, to, type, flags, data)
CALL(mode_t, umask(mode_t mask), SYS_umask, mask)
CALL(int, memfd_create(const char *name, unsigned flags), SYS_memfd_create, name, flags)
CALL(off_t, lseek(int fd, off_t to, int whence), SYS_lseek, fd, to, whence)
CALL(int, ftruncate(int fd, off_t size), SYS_ftruncate, fd, size)
CALL(int, fallocate(int fd, int mode, off_t from, off_t size), SYS_fallocate, fd, mode, from, size)
CALL(void *, mmap(void *at, size_t size, int protection, int flags, int fd, off_t from),
     SYS_mmap, at, size, protection, flags, fd, from)
CALL(int, munmap(void *at, size_t size), SYS_munmap, at, size)

CALL(int, socket(int family, int type, int protocol), SYS_socket, family, type, protocol)
CALL(int, bind(int fd, const struct sockaddr *to, socklen_t size), SYS_bind, fd, to, size)
CALL(int, connect(int fd, const struct sockaddr *to, socklen_t size), SYS_connect, fd, to, size)
CALL(int, shutdown(int fd, int how), SYS_shutdown, fd, how)
CALL(int, listen(int fd, int waiting), SYS_listen, fd, waiting)
CALL(int, accept4(int fd, struct sockaddr *from, socklen_t *size, int flags), SYS_accept4, fd, from, size, flags)
CALL(int, getsockname(int fd, struct sockaddr *to, socklen_t *size), SYS_getsockname, fd, to, size)
CALL(int, getsockopt(int fd, int level, int name, void *to, socklen_t *size), SYS_getsockopt, fd, level, name, to, size)
CALL(int, setsockopt(int fd, int level, int name, const void *value, socklen_t size),
     SYS_setsockopt, fd, level, name, value, size)
CALL(ssize_t, send(int fd, const void *from, size_t size, int flags), SYS_sendto, fd, from, size, flags)
CALL(ssize_t, recv(int fd, void *to, size_t size, int flags), SYS_recvfrom, fd, to, size, flags)
CALL(ssize_t, sendto(int fd, const void *from, size_t size, int flags, const struct sockaddr *to, socklen_t of_to),
     SYS_sendto, fd, from, size, flags, to, of_to)
CALL(ssize_t, recvfrom(int fd, void *to, size_t size, int flags, struct sockaddr *from, socklen_t *of_from),
     SYS_recvfrom, fd, to, size, flags, from, of_from)
CALL(int, socketpair(int family, int type, int protocol, int ends[2]), SYS_socketpair, family, type, protocol, ends)
CALL(int, setns(int fd, int kind), SYS_setns, fd, kind)
CALL(ssize_t, sendmsg(int fd, const struct msghdr *message, int flags), SYS_sendmsg, fd, message, flags)
CALL(ssize_t, recvmsg(int fd, struct msghdr *message, int flags), SYS_recvmsg, fd, message, flags)

CALL(pid_t, fork(void), SYS_clone, SIGCHLD)
CALL(int, execve(const char *path, char *const *arguments, char *const *environment),
     SYS_execve, path, arguments, environment)
CALL(pid_t, waitpid(pid_t pid, int *status, int options), SYS_wait4, pid, status, options)
CALL(pid_t, getpid(void), SYS_getpid)
CALL(pid_t, getppid(void), SYS_getppid)
CALL(uid_t, getuid(void), SYS_getuid)
CALL(uid_t, geteuid(void), SYS_geteuid)
CALL(pid_t, setsid(void), SYS_setsid)
CALL(int, kill(pid_t pid, int number), SYS_kill, pid, number)
CALL(int, uname(struct utsname *to), SYS_uname, to)
CALL(int, clock_gettime(clockid_t clock, struct timespec *to), SYS_clock_gettime, clock, to)
CALL(int, nanosleep(const struct timespec *time, struct timespec *left), SYS_nanosleep, time, left)
CALL(ssize_t, getrandom(void *to, size_t size, unsigned flags), SYS_getrandom, to, size, flags)

void _exit(int status) {
    for (;;) system_call(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

int poll(struct pollfd *set, nfds_t count, int milliseconds) {
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    return (int)SIX(SYS_ppoll, set, count, milliseconds < 0 ? NULL : &time, NULL, 0, 0, 0);
}

/* The further arguments of these are one word each. */
#define FURTHER(last, word) \
    va_list list; \
    va_start(list, last); \
    long word = va_arg(list, long); \
    va_end(list)

int open(const char *path, int flags, ...) {
    FURTHER(flags, mode);
    return (int)SIX(SYS_openat, AT_FDCWD, path, flags, mode, 0, 0, 0);
}
int openat(int directory, const char *path, int flags, ...) {
    FURTHER(flags, mode);
    return (int)SIX(SYS_openat, directory, path, flags, mode, 0, 0, 0);
}
int fcntl(int fd, int command, ...) {
    FURTHER(command, value);
    return (int)SIX(SYS_fcntl, fd, command, value, 0, 0, 0, 0);
}
int ioctl(int fd, unsigned long request, ...) {
    FURTHER(request, value);
    return (int)SIX(SYS_ioctl, fd, request, value, 0, 0, 0, 0);
}
int prctl(int what, ...) {
    FURTHER(what, value);
    return (int)SIX(SYS_prctl, what, value, 0, 0, 0, 0, 0);
}
long syscall(long number, ...) {
    va_list list;
    long words[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++) words[i] = va_arg(list, long);
    va_end(list);
    return SIX(number, words[0], words[1], words[2], words[3], words[4], words[5], 0);
}

/* The kernel's set of signals is one word. */
int sigemptyset(sigset_t *set) {
    memset(set, 0, sizeof *set);
    return 0;
}
int sigaddset(sigset_t *set, int number) {
    *(unsigned long *)set |= 1UL << (number - 1);
    return 0;
}
int sigprocmask(int how, const sigset_t *set, sigset_t *before) {
    return (int)SIX(SYS_rt_sigprocmask, how, set, before, 8, 0, 0, 0);
}
int signalfd(int fd, const sigset_t *set, int flags) {
    return (int)SIX(SYS_signalfd4, fd, set, 8, flags, 0, 0, 0);
}
__sighandler_t signal(int number, __sighandler_t what) { /* SIG_IGN and SIG_DFL only */
    struct {
        __sighandler_t what;
        unsigned long flags;
        void *restorer;
        unsigned long mask;
    } action = {what, 0, NULL, 0};
    return SIX(SYS_rt_sigaction, number, &action, NULL, 8, 0, 0, 0) ? SIG_ERR : SIG_DFL;
}

/* The compiler calls the first four by itself too. */
void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    unsigned char *t = to;
    const unsigned char *f = from;
    while (size--) *t++ = *f++;
    return to;
}
void *memmove(void *to, const void *from, size_t size) {
    unsigned char *t = to;
    const unsigned char *f = from;
    if (t > f)
        while (size--) t[size] = f[size];
    else
        while (size--) *t++ = *f++;
    return to;
}
void *memset(void *to, int value, size_t size) {
    unsigned char *t = to;
    while (size--) *t++ = (unsigned char)value;
    return to;
}
int memcmp(const void *a, const void *b, size_t size) {
    const unsigned char *x = a, *y = b;
    for (; size; size--, x++, y++)
        if (*x != *y) return *x - *y;
    return 0;
}
size_t strlen(const char *text) {
    size_t length = 0;
    while (text[length]) length++;
    return length;
}
int strcmp(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return (unsigned char)*a - (unsigned char)*b;
}
int strncmp(const char *a, const char *b, size_t size) {
    while (size && *a && *a == *b) a++, b++, size--;
    return size ? (unsigned char)*a - (unsigned char)*b : 0;
}
#undef strchr /* newer headers have a macro too */
char *strchr(const char *text, int letter) {
    for (; *text != (char)letter; text++)
        if (!*text) return NULL;
    return (char *)text;
}
