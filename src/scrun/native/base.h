/* What scrun's native programs share: the system's headers, and the small texts of text.c. libc.c stands in for a C
 * library in all of them. */
#ifndef SCRUN_BASE_H
#define SCRUN_BASE_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **arguments, char **environment);

/* ---- text.c: texts in buffers of a fixed size; what doesn't fit is cut off ---- */
struct text {
    char *start;
    size_t length, size;
};
#define TEXT(name, bytes) \
    char name##_buffer[bytes] = ""; \
    struct text name = {name##_buffer, 0, bytes}
void put(struct text *to, const char *from);
void put_bytes(struct text *to, const char *from, size_t length);
void put_number(struct text *to, uint64_t number);
void put_error(struct text *to, int error);
long read_number(const char *from); /* -1: it isn't one */
int read_hex(const char *from, uint8_t *to, size_t count);
uint32_t get32(const uint8_t *from);
uint64_t get64(const uint8_t *from);
void put32(uint8_t *to, uint32_t number);
void put64(uint8_t *to, uint64_t number);
long milliseconds(void); /* of a clock that never goes back */
size_t read_file(const char *path, char *to, size_t size); /* its beginning, ended by NUL; 0: it can't be read */
char **words_in(char *text, size_t length, size_t more, size_t *size);
const char *variable(char *const *environment, const char *name); /* NULL: it isn't there */
extern void (*last_words)(const char *line, size_t length); /* who is told too what die() says; NULL: nobody */
_Noreturn void die(const char *what, const char *which, int error); /* scrun-node's failure, on standard error */

#endif
