/*
 * Preloaded into slurmd, and so into slurmstepd: what they open as root below /home they open as nobody, as with a file
 * server that squashes root. In other programs it does nothing: crun, which slurmstepd starts, is root of a namespace.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOME "/home/"

static bool is_slurms(void)
{
        char program[PATH_MAX] = "";
        return readlink("/proc/self/exe", program, sizeof(program) - 1) > 0 && strstr(program, "/slurm");
}

/* Whether nobody could open it: each directory above has to let others in, and the file itself has to let them read. */
static bool is_closed(const char *path)
{
        char part[PATH_MAX];
        struct stat found;
        if (geteuid() || !is_slurms() || strncmp(path, HOME, strlen(HOME)) || strlen(path) >= sizeof(part))
                return false;
        for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                memcpy(part, path, slash - path);
                part[slash - path] = 0;
                if (!stat(part, &found) && !(found.st_mode & S_IXOTH))
                        return true;
        }
        return !stat(path, &found) && !(found.st_mode & S_IROTH);
}

#define OPEN(name)                                                              \
        int name(const char *path, int flags, ...)                              \
        {                                                                       \
                int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name);  \
                va_list more;                                                   \
                va_start(more, flags);                                          \
                mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0; \
                va_end(more);                                                   \
                if (is_closed(path)) {                                          \
                        errno = EACCES;                                         \
                        return -1;                                              \
                }                                                               \
                return real(path, flags, mode);                                 \
        }

#define FOPEN(name)                                                             \
        FILE *name(const char *path, const char *mode)                          \
        {                                                                       \
                FILE *(*real)(const char *, const char *) = dlsym(RTLD_NEXT, #name); \
                if (is_closed(path)) {                                          \
                        errno = EACCES;                                         \
                        return NULL;                                            \
                }                                                               \
                return real(path, mode);                                        \
        }

OPEN(open)
OPEN(open64)
FOPEN(fopen)
FOPEN(fopen64)
