/* The hook createContainer. It runs in the container's mounts, while / is still the node's: puts the init and its
 * socket into the container, opens the container's terminal, and passes both to the agent. */
#include "node.h"

#define TMPFS_MAGIC 0x01021994

#define MOST_OF_MOUNTINFO (16 << 20)

static char *mounts; /* /proc/self/mountinfo */

/* The kernel writes a blank in a path as \040, and so on. */
static void decode(char *path) {
    char *to = path;
    for (; *path; path++) {
        if (path[0] == '\\' && path[1] && path[2] && path[3]) {
            *to++ = (char)((path[1] - '0') << 6 | (path[2] - '0') << 3 | (path[3] - '0'));
            path += 3;
        } else {
            *to++ = *path;
        }
    }
    *to = 0;
}

static int ends_with(const char *text, const char *end) {
    size_t length = strlen(text), of_end = strlen(end);
    return length > of_end && !strcmp(text + length - of_end, end);
}

/* The path of the mount that ends with `inside`; what is before that, the container's root, goes into `root`. It is the
 * last such mount, because the container's own are made last. */
static const char *find_mount(const char *inside, char *root, size_t size) {
    const char *found = NULL;
    for (char *line = mounts; *line;) {
        char *end = strchr(line, '\n');
        if (!end) break;
        *end = 0;
        char *path = line;
        for (int field = 0; path && field < 4; field++) path = (path = strchr(path, ' ')) ? path + 1 : NULL;
        char *blank = path ? strchr(path, ' ') : NULL;
        if (blank) {
            *blank = 0;
            decode(path);
            if (ends_with(path, inside)) found = path;
        }
        line = end + 1;
    }
    size_t length = found ? strlen(found) - strlen(inside) : 0;
    if (!found || length >= size) return NULL;
    memcpy(root, found, length);
    root[length] = 0;
    return found;
}

/* Opens what is at a path below a directory, following no symbolic link. */
static int open_below(int directory, const char *path, int flags, mode_t mode) {
    int at = directory;
    for (;;) {
        const char *end = path;
        while (*end && *end != '/') end++;
        TEXT(component, 256);
        put_bytes(&component, path, (size_t)(end - path));
        int next = *end ? openat(at, component.start, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                        : openat(at, component.start, flags | O_NOFOLLOW | O_CLOEXEC, (long)mode);
        if (at != directory) close(at);
        if (next < 0 || !*end) return next;
        at = next;
        path = end + 1;
    }
}

static void put_descriptor(struct text *to, int fd) {
    put(to, "/proc/self/fd/");
    put_number(to, (uint64_t)fd);
}

/* The container's own terminal: the master of a new one, whose slave is the container's /dev/console. */
static int open_terminal(int root) {
    int master = open_below(root, "dev/pts/ptmx", O_RDWR | O_NOCTTY, 0), unlock = 0;
    unsigned number;
    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) || ioctl(master, TIOCGPTN, &number))
        die("cannot open a terminal in the container", NULL, errno);
    TEXT(path, 32);
    put(&path, "dev/pts/");
    put_number(&path, number);
    int slave = open_below(root, path.start, O_PATH, 0);
    int made = open_below(root, "dev/console", O_WRONLY | O_CREAT | O_NOCTTY | O_NONBLOCK, 0600);
    if (made >= 0) close(made);
    int console = open_below(root, "dev/console", O_PATH, 0);
    TEXT(from, 32);
    TEXT(to, 32);
    put_descriptor(&from, slave);
    put_descriptor(&to, console);
    if (slave < 0 || console < 0 || mount(from.start, to.start, NULL, MS_BIND, NULL))
        die("cannot mount the container's terminal at its /dev/console", NULL, errno);
    close(slave);
    close(console);
    return master;
}

static void write_init(int directory, const char *name) {
    char bytes[4096];
    ssize_t length;
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int to = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0755L);
    if (from < 0 || to < 0) die("cannot write the container's init", NULL, errno);
    while ((length = read(from, bytes, sizeof bytes)) > 0)
        if (write(to, bytes, (size_t)length) != length) die("cannot write the container's init", NULL, ENOSPC);
    close(from);
    close(to);
}

static const struct state *meeting_state;
static char *const *meeting_environment;

/* The agent passes them on to login, because crun gives a hook's standard error to nobody. */
static void tell_agent(const char *line, size_t length) {
    int agent_socket = join(meeting_state, meeting_environment);
    if (agent_socket >= 0) send(agent_socket, line, length, MSG_NOSIGNAL);
}

/* Passes the container's namespaces to the agent, and waits until the network in them is like the engine's. */
static void ask_for_network(const struct state *state, char *const *environment) {
    char answer[256] = "";
    int fds[2] = {open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC)};
    if (fds[0] < 0 || fds[1] < 0) die("cannot open the container's namespaces", NULL, errno);
    int agent_socket = join(state, environment);
    if (agent_socket < 0 || send_descriptors(agent_socket, "n", 1, fds, 2) ||
        recv(agent_socket, answer, sizeof answer - 1, 0) < 1)
        die("the agent of this container doesn't make its network", NULL, 0);
    if (*answer != 'k') die(answer + 1, NULL, 0);
}

static uint64_t file_size[2]; /* RLIMIT_FSIZE as the runtime had it */

/* Slurm gives a job the soft limits of the shell that has submitted it. The hooks and the agent write larger files than
 * a small one allows; crun alone writes less. */
void lift_file_size(void) {
    if (syscall(SYS_prlimit64, 0L, (long)RLIMIT_FSIZE, 0L, (long)file_size, 0L, 0L)) return;
    const uint64_t lifted[2] = {file_size[1], file_size[1]};
    syscall(SYS_prlimit64, 0L, (long)RLIMIT_FSIZE, (long)lifted, 0L, 0L, 0L);
}

void restore_file_size(void) { syscall(SYS_prlimit64, 0L, (long)RLIMIT_FSIZE, (long)file_size, 0L, 0L, 0L); }

void hook_inside(const char *connection, char *const *environment) {
    static struct state state;
    static char root_path[4096];
    struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = INIT_SOCKET};
    struct statfs kind;
    read_state(&state);
    read_settings(connection);
    meeting_state = &state;
    meeting_environment = environment;
    last_words = tell_agent;
    mounts = mmap(NULL, MOST_OF_MOUNTINFO, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mounts == MAP_FAILED || !read_file("/proc/self/mountinfo", mounts, MOST_OF_MOUNTINFO))
        die("cannot read the container's mounts", NULL, errno);
    char *inside = settings.init, *slash = inside;
    for (char *each = inside; *each; each++)
        if (*each == '/') slash = each;
    *slash = 0;
    const char *mounted = find_mount(inside, root_path, sizeof root_path);
    if (!mounted) die("nothing is mounted in the container at", inside, 0);
    int directory = open(mounted, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory < 0 || fstatfs(directory, &kind)) die("cannot enter", mounted, errno);
    if (kind.f_type != TMPFS_MAGIC) die("no tmpfs is at", mounted, 0);
    umask(0);
    write_init(directory, slash + 1);
    int fds[2] = {socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), -1}, count = 1;
    if (fchdir(directory) || bind(fds[0], (struct sockaddr *)&at, sizeof at) || listen(fds[0], 8) ||
        chmod(INIT_SOCKET, 0666))
        die("cannot make the init's socket", NULL, errno);
    if (settings.stdio == TERMINAL) {
        int root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root < 0) die("cannot enter", root_path, errno);
        fds[count++] = open_terminal(root);
    }
    int agent_socket = join(&state, environment);
    if (agent_socket < 0) die("the agent of this container is not there", NULL, 0);
    char answer;
    if (send_descriptors(agent_socket, "i", 1, fds, count) || recv(agent_socket, &answer, 1, 0) != 1)
        die("the agent of this container has not answered", NULL, 0);
    if (settings.network) ask_for_network(&state, environment);
}
