/* Process 0: the container's own, whose first program is our init. */
#include "node.h"

#define FIRST_PIPE 262144 /* bytes: a program that prints much is interrupted less often */

static int listener = -1, init_socket = -1, environment_memory = -1, start_wanted, ready;

int first_is_started(void) { return start_wanted; }
int first_listener(void) { return listener; }
int first_socket(void) { return init_socket; }

void first_listens(int fd, int master) {
    if (listener >= 0 || ready) {
        close(fd);
        if (master >= 0) close(master);
        return;
    }
    listener = fd;
    processes[0].aside = master; /* until the start */
    processes[0].terminal = master >= 0;
}

/* What slurmstepd and a TaskProlog have given the program: our execs get it too. The task's number on its node is there
 * only: the runtime has slurmd's environment. */
static void keep_environment(void) {
    char bytes[4096];
    TEXT(path, 64);
    put(&path, "/proc/");
    put_number(&path, (uint64_t)agent.state.pid);
    put(&path, "/environ");
    int from = open(path.start, O_RDONLY | O_CLOEXEC);
    environment_memory = memfd_create("scrun-environment", MFD_CLOEXEC);
    ssize_t more;
    size_t length = 0;
    while (from >= 0 && (more = read(from, bytes, sizeof bytes)) > 0)
        if (write(environment_memory, bytes, (size_t)more) == more) length += (size_t)more;
    if (from >= 0) close(from);
    char *text = mmap(NULL, length + 1, PROT_READ, MAP_PRIVATE, environment_memory, 0);
    if (!length || text == MAP_FAILED) return;
    static const char name[] = "SLURM_LOCALID=";
    for (size_t at = 0; at < length; at += strlen(text + at) + 1)
        if (!strncmp(text + at, name, sizeof name - 1) && read_number(text + at + sizeof name - 1) >= 0)
            agent_set_task((uint32_t)read_number(text + at + sizeof name - 1));
    munmap(text, length + 1);
}

int environment_file(void) {
    TEXT(path, 32);
    put(&path, "/proc/self/fd/");
    put_number(&path, (uint64_t)environment_memory);
    return open(path.start, O_RDONLY | O_CLOEXEC);
}

/* The program's limits are set when the init has nothing more to do but execve, because they may be too low for a hook,
 * for the agent, or for the init itself. The agent can raise a limit if the job is root's. If it may not set one,
 * because the program has another user, the init is told: any process may lower its own limits. */
static void set_limits(void) {
    uint8_t left[LIMITS * LEFT_LIMIT + 1] = "k";
    size_t length = 1;
    for (int i = 0; i < settings.limit_count; i++) {
        uint64_t limit[2], soft = settings.limits[i].soft, hard = settings.limits[i].hard;
        long pid = agent.state.pid, kind = settings.limits[i].kind;
        if (!settings.limits[i].is_hard) {
            if (syscall(SYS_prlimit64, pid, kind, 0L, (long)limit, 0L, 0L)) continue;
            hard = limit[1];
            if (soft > hard) soft = hard;
        }
        limit[0] = soft;
        limit[1] = hard;
        if (!syscall(SYS_prlimit64, pid, kind, (long)limit, 0L, 0L, 0L) || !settings.limits[i].is_hard) continue;
        left[length] = (uint8_t)kind;
        put64(left + length + 1, soft);
        put64(left + length + 9, hard);
        length += LEFT_LIMIT;
    }
    send(init_socket, left, length, MSG_NOSIGNAL);
}

static void give(void) {
    struct process *p = &processes[0];
    struct ucred user;
    socklen_t size = sizeof user;
    int theirs[4] = {-1, -1, -1, -1}, count = 0, error = 0;
    if (p->terminal) {
        int master = p->aside;
        p->aside = -1;
        process_terminal(p, master);
        theirs[0] = ioctl(master, TIOCGPTPEER, (long)(O_RDWR | O_NOCTTY | O_CLOEXEC));
        count = 1;
        if (theirs[0] < 0) error = errno;
    } else if (settings.stdio == PIPES) {
        error = process_pipes(p, theirs, 1);
        count = 3;
        if (!error) fcntl(p->fd[1], F_SETPIPE_SZ, (long)FIRST_PIPE);
    }
    /* The program's user can open its /dev/stdout, as with runc; where the agent may not give it away, everybody can
     * who sees it: it is in the container only. */
    if (!getsockopt(init_socket, SOL_SOCKET, SO_PEERCRED, &user, &size))
        for (int i = 0; i < count && !error; i++)
            if (fchown(theirs[i], user.uid, (gid_t)-1)) fchmod(theirs[i], 0666);
    char how[2] = {settings.stdio == TASK ? 'k' : p->terminal ? 't' : 'p', 'l'};
    size_t length = settings.limit_count ? 2 : 1;
    if (p->request >= 0) theirs[count++] = p->request; /* the program's words */
    p->request = -1;
    if (!error && p->request_error) error = p->request_error;
    if (!error && send_descriptors(init_socket, how, length, theirs, count)) error = errno;
    for (int i = 0; i < 4; i++)
        if (theirs[i] >= 0) close(theirs[i]);
    p->stage = STARTING;
    if (error) {
        process_failed(p, p->terminal ? 't' : 's', error, "", 0);
        close(init_socket);
        init_socket = -1;
    }
}

/* Only the container's first process is answered, whoever else may have found the socket. */
void first_comes(void) {
    struct ucred user = {0};
    socklen_t size = sizeof user;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &user, &size) || user.pid != agent.state.pid) {
        close(fd);
        return;
    }
    close(listener);
    listener = -1;
    init_socket = fd;
    ready = 1;
    keep_environment();
    members_begin(agent.state.pid);
    struct utsname host;
    const char *node = variable(agent.environment, "SLURMD_NODENAME");
    if (!node) node = uname(&host) ? "" : host.nodename;
    TEXT(payload, 300);
    put_bytes(&payload, "1234", 4);
    put32((uint8_t *)payload.start, agent.task);
    put(&payload, node);
    frame(READY, 0, payload.start, payload.length);
    if (start_wanted) give();
}

void first_start(uint32_t rows_and_columns) {
    if (start_wanted) {
        link_break();
        return;
    }
    start_wanted = 1;
    processes[0].rows = (uint16_t)(rows_and_columns >> 16);
    processes[0].columns = (uint16_t)rows_and_columns;
    if (ready && processes[0].stage == ASKED) give();
}

/* The init asks for the limits, or has become the program, or says why not. */
void first_answers(void) {
    uint8_t text[INIT_FAILURE];
    ssize_t length = recv(init_socket, text, sizeof text, MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (length == 1) {
        set_limits();
        return;
    }
    close(init_socket);
    init_socket = -1;
    if (processes[0].stage != STARTING) return; /* it has been killed before it was to start */
    TEXT(limit, 4);
    if (length == sizeof text && text[0] == 'l') put_number(&limit, text[5]);
    if (length == sizeof text)
        process_failed(&processes[0], (char)text[0], (int)get32(text + 1), limit.start, limit.length);
    else
        process_started(&processes[0]);
}
