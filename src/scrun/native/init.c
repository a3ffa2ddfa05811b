/* The container's first program. It runs with the container's files and user; asks the agent for its standard input,
 * output and error, and then for its limits; and becomes the program that was asked for. The socket closes then, or
 * carries errno. */
#include "node.h"

int run_program(char *const *arguments, char *const *environment) {
    const char *name = arguments[0], *path = variable(environment, "PATH");
    if (!name || !*name) return ENOENT;
    if (strchr(name, '/')) {
        execve(name, arguments, environment);
        return errno;
    }
    int worst = ENOENT;
    for (path = path && *path ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"; *path;) {
        const char *end = path;
        while (*end && *end != ':') end++;
        TEXT(full, 8192);
        put_bytes(&full, path, (size_t)(end - path));
        put(&full, "/");
        put(&full, name);
        if (end > path && full.length + 1 < full.size) {
            execve(full.start, arguments, environment);
            if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) return errno;
            if (errno == EACCES) worst = EACCES; /* the search goes on */
        }
        path = *end ? end + 1 : end;
    }
    return worst;
}

static int ask(const char *program) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    size_t length = 0; /* of our directory's path: the socket is in it too */
    for (size_t i = 0; program[i]; i++)
        if (program[i] == '/') length = i + 1;
    if (length + sizeof INIT_SOCKET > sizeof at.sun_path) return -1;
    memcpy(at.sun_path, program, length);
    memcpy(at.sun_path + length, INIT_SOCKET, sizeof INIT_SOCKET);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at)) return -1;
    return fcntl(fd, F_DUPFD_CLOEXEC, 10L); /* the other one is closed by execve, or by this: */
}

/* The words of the program, each ended by NUL, that the agent has from login; those of our own command line if none. */
static char **words(int memory, char **own) {
    off_t length = memory < 0 ? 0 : lseek(memory, 0L, SEEK_END);
    size_t size;
    if (length <= 0) return own;
    char *text = mmap(NULL, (size_t)length, PROT_READ | PROT_WRITE, MAP_PRIVATE, memory, 0L);
    return text == MAP_FAILED ? NULL : words_in(text, (size_t)length, 0, &size);
}

/* Tells login, by way of the agent, what FAILED is to say. */
static void tell(int agent_socket, char where, int error, uint8_t which_limit) {
    uint8_t text[INIT_FAILURE] = {(uint8_t)where};
    put32(text + 1, (uint32_t)error);
    text[5] = which_limit;
    if (write(agent_socket, text, sizeof text) < 0) {}
}

static int fail(int agent_socket, char where, int error) {
    tell(agent_socket, where, error, 0);
    return where != 'x' ? 125 : error == ENOENT || error == ENOTDIR ? 127 : 126;
}

/* Has the agent set the limits, and sets those that it couldn't. 0, or the exit status if one can't be set. */
static int take_limits(int agent_socket) {
    uint8_t left[LIMITS * LEFT_LIMIT + 1];
    int length, count;
    if (write(agent_socket, "l", 1) != 1) return 137;
    if ((length = receive_descriptors(agent_socket, left, sizeof left, NULL, 0, &count)) < 1) return 137;
    for (const uint8_t *at = left + 1; at + LEFT_LIMIT <= left + length; at += LEFT_LIMIT) {
        const uint64_t limit[2] = {get64(at + 1), get64(at + 9)};
        if (!syscall(SYS_prlimit64, 0L, (long)*at, (long)limit, 0L, 0L, 0L)) continue;
        tell(agent_socket, 'l', errno, *at);
        return 125;
    }
    return 0;
}

int init(char **arguments, char **environment) {
    int agent_socket = ask(arguments[0]), fds[4] = {-1, -1, -1, -1}, count, status;
    char how[2] = "";
    if (agent_socket < 0) {
        die("the container's init finds no agent: it is no program to be called", NULL, errno);
    }
    if (receive_descriptors(agent_socket, how, sizeof how, fds, 4, &count) < 1) return 137; /* the agent is gone */
    for (int i = 0; i < count; i++) fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 10L);
    int stdio = how[0] == 'p' ? 3 : how[0] == 't'; /* descriptors; one more is the words */
    char **program = words(count > stdio ? fds[stdio] : -1, arguments + 1);
    if (!program || !program[0]) return fail(agent_socket, 's', program ? EINVAL : ENOMEM);
    if (how[0] == 't') {
        setsid();
        if (ioctl(fds[0], TIOCSCTTY, 0L)) return fail(agent_socket, 't', errno);
    }
    for (int i = 0; stdio && i < 3; i++)
        if (dup2(fds[how[0] == 't' ? 0 : i], i) < 0) return fail(agent_socket, 's', errno);
    if (how[1] == 'l' && (status = take_limits(agent_socket))) return status;
    return fail(agent_socket, 'x', run_program(program, environment));
}
