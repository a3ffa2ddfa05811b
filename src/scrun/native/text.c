/* Texts, numbers, small files: what the other files say and read. */
#include "base.h"

void put_bytes(struct text *to, const char *from, size_t length) {
    size_t room = to->size - to->length - 1;
    if (length > room) length = room;
    memcpy(to->start + to->length, from, length);
    to->length += length;
    to->start[to->length] = 0;
}

void put(struct text *to, const char *from) { put_bytes(to, from, strlen(from)); }

void put_number(struct text *to, uint64_t number) {
    char digits[20];
    size_t first = sizeof digits;
    do {
        digits[--first] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    put_bytes(to, digits + first, sizeof digits - first);
}

void put_error(struct text *to, int error) {
    static const struct {
        int error;
        const char *text;
    } known[] = {
        {EACCES, "Permission denied"},
        {EPERM, "Operation not permitted"},
        {ENOENT, "No such file or directory"},
        {ENOSPC, "No space left on device"},
        {EFBIG, "File too large"},
        {EROFS, "Read-only file system"},
        {ENOMEM, "Cannot allocate memory"},
        {ENOSYS, "Function not implemented"},
        {EEXIST, "File exists"},
        {ESRCH, "No such process"},
        {ECONNREFUSED, "Connection refused"},
        {ECONNRESET, "Connection reset by peer"},
        {ETIMEDOUT, "Connection timed out"},
        {EHOSTUNREACH, "No route to host"},
        {ENETUNREACH, "Network is unreachable"},
        {EKEYREJECTED, "Key was rejected by service"},
        {EPROTO, "Protocol error"},
        {EBUSY, "Device or resource busy"},
        {EADDRINUSE, "Address already in use"},
        {EADDRNOTAVAIL, "Cannot assign requested address"},
        {EINVAL, "Invalid argument"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].error == error) {
            put(to, known[i].text);
            return;
        }
    put(to, "error ");
    put_number(to, (uint64_t)error);
}

long read_number(const char *from) {
    long number = 0;
    if (!*from) return -1;
    for (; *from; from++) {
        if (*from < '0' || *from > '9' || number > 1000000000) return -1;
        number = number * 10 + (*from - '0');
    }
    return number;
}

static int hex_digit(char letter) {
    if (letter >= '0' && letter <= '9') return letter - '0';
    if (letter >= 'a' && letter <= 'f') return letter - 'a' + 10;
    return -1;
}

int read_hex(const char *from, uint8_t *to, size_t count) {
    if (strlen(from) != 2 * count) return -1;
    for (size_t i = 0; i < count; i++) {
        int high = hex_digit(from[2 * i]), low = hex_digit(from[2 * i + 1]);
        if (high < 0 || low < 0) return -1;
        to[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

uint32_t get32(const uint8_t *from) {
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}
uint64_t get64(const uint8_t *from) { return (uint64_t)get32(from) << 32 | get32(from + 4); }
void put32(uint8_t *to, uint32_t number) {
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(number >> (24 - 8 * i));
}
void put64(uint8_t *to, uint64_t number) {
    put32(to, (uint32_t)(number >> 32));
    put32(to + 4, (uint32_t)number);
}

long milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

size_t read_file(const char *path, char *to, size_t size) {
    size_t length = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && length < size - 1) {
        ssize_t more = read(fd, to + length, size - 1 - length);
        if (more <= 0) break;
        length += (size_t)more;
    }
    if (fd >= 0) close(fd);
    to[length] = 0;
    return length;
}

/* A list of the words in a text, each ended by NUL, with room for `more` and the NULL at its end. NULL: there are none,
 * the last isn't ended, or there is no memory. `size` is how much munmap has to give back. */
char **words_in(char *text, size_t length, size_t more, size_t *size) {
    size_t count = 0, n = 0;
    for (size_t at = 0; at < length; at++) count += !text[at];
    if (!count || text[length - 1]) return NULL;
    *size = (count + more + 1) * sizeof(char *);
    char **list = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (list == (char **)MAP_FAILED) return NULL;
    for (size_t at = 0; at < length; at += strlen(text + at) + 1) list[n++] = text + at;
    return list;
}

const char *variable(char *const *environment, const char *name) {
    size_t length = strlen(name);
    for (; *environment; environment++)
        if (!strncmp(*environment, name, length) && (*environment)[length] == '=') return *environment + length + 1;
    return NULL;
}

void (*last_words)(const char *line, size_t length);

_Noreturn void die(const char *what, const char *which, int error) {
    TEXT(line, 1024);
    put(&line, "scrun-node: ");
    put(&line, what);
    if (which) {
        put(&line, " ");
        put(&line, which);
    }
    if (error) {
        put(&line, ": ");
        put_error(&line, error);
    }
    if (last_words) last_words(line.start, line.length);
    put(&line, "\n");
    if (write(2, line.start, line.length) < 0) {}
    _exit(1);
}
