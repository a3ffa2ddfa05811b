/* Further processes: in the container by the node's own runtime (EXEC), and beside it (RUN). All of them are the
 * agent's children, those that the runtime leaves behind too, because the agent is a subreaper. */
#include "node.h"

#define MOST_OF_A_REQUEST (16 << 20)

/* ---- making a child ---- */

/* If it can't be run, the child writes errno to `report`, if there is one. */
static pid_t spawn(char *const *arguments, const int stdio[3], int kept, int report) {
    pid_t child = fork();
    if (child) return child;
    sigset_t none;
    sigemptyset(&none);
    for (int number = 1; number < 32; number++) signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 3; i++) dup2(stdio[i] < 0 ? nothing : stdio[i], i);
    if (kept >= 0) fcntl(kept, F_SETFD, 0L);
    restore_file_size();
    int error = run_program(arguments, agent.environment);
    if (report >= 0 && write(report, &error, sizeof error) < 0) {}
    _exit(error == ENOENT ? 127 : 126);
}

void cancel_job(void) {
    char *words[] = {"scancel", settings.job, NULL};
    int nothing[3] = {-1, -1, -1};
    if (!*settings.job) return;
    pid_t child = spawn(words, nothing, -1, -1);
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
}

/* ---- the PARTs of a request ---- */

void run_part(struct process *p, const uint8_t *from, size_t length) {
    if (p->stage == FREE) process_begin(p, OWN);
    if (p->request < 0) p->request = memfd_create("scrun-request", MFD_CLOEXEC);
    if (p->stage != ASKED || p->request_size + (int)length > MOST_OF_A_REQUEST) {
        link_break();
        return;
    }
    if (p->request < 0 || write(p->request, from, length) != (ssize_t)length) p->request_error = ENOMEM;
    p->request_size += (int)length;
}

/* ---- EXEC ---- */

static void put_place(struct text *to, const struct process *p, const char *end) {
    put(to, meeting_directory);
    put(to, "/");
    put_number(to, number_of(p));
    put(to, end);
}

static void remove_files(const struct process *p) {
    static const char *const ends[] = {".log", ".pid", ".tty"};
    for (int i = 0; i < 3; i++) {
        TEXT(path, 128);
        put_place(&path, p, ends[i]);
        unlink(path.start);
    }
}

void run_remove_files(void) {
    for (const struct process *p = processes + 1; p < processes + PROCESSES; p++) remove_files(p);
}

static int listen_for_terminal(struct process *p) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct text path = {at.sun_path, 0, sizeof at.sun_path};
    put_place(&path, p, ".tty");
    p->aside = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->aside < 0 || bind(p->aside, (struct sockaddr *)&at, sizeof at) || listen(p->aside, 1)) return errno;
    return 0;
}

void run_exec(struct process *p, int terminal, uint32_t rows_and_columns) {
    int theirs[3] = {-1, -1, -1}, n = 0;
    agent.meeting = meet_again(agent.meeting, &agent.state, agent.environment);
    p->kind = EXECUTED;
    p->terminal = terminal;
    process_resize(p, rows_and_columns);
    TEXT(command, sizeof settings.runtime + 32);
    TEXT(log, 128);
    TEXT(pid_file, 128);
    TEXT(console, 128);
    TEXT(process, 32);
    put(&command, "exec ");
    put(&command, settings.runtime);
    put(&command, " \"$@\"");
    put(&log, "--log=");
    put_place(&log, p, ".log");
    put_place(&pid_file, p, ".pid");
    put_place(&console, p, ".tty");
    put(&process, "/proc/self/fd/");
    put_number(&process, (uint64_t)p->request);
    char *words[16] = {"sh", "-c", command.start, "sh", log.start, "exec", "--detach", "--pid-file", pid_file.start};
    for (n = 9; terminal && n < 11; n++) words[n] = n == 9 ? "--console-socket" : console.start;
    words[n++] = "--process";
    words[n++] = process.start;
    words[n] = agent.state.id;
    remove_files(p);
    int error = p->request_error;
    if (!error) error = terminal ? listen_for_terminal(p) : process_pipes(p, theirs, 1);
    if (!error && (p->runtime = spawn(words, theirs, p->request, -1)) < 0) error = errno;
    for (int i = 0; i < 3; i++)
        if (theirs[i] >= 0) close(theirs[i]);
    close(p->request);
    p->request = -1;
    p->stage = STARTING;
    if (error) process_failed(p, 's', error, "", 0);
}

static void take_terminal(struct process *p) {
    char text[256];
    int fd, count = 0, peer = accept4(p->aside, NULL, NULL, SOCK_CLOEXEC);
    if (peer < 0) return;
    struct pollfd set = {peer, POLLIN, 0};
    if (poll(&set, 1, 1000) == 1) receive_descriptors(peer, text, sizeof text, &fd, 1, &count);
    close(peer);
    close(p->aside);
    p->aside = -1;
    if (count) process_terminal(p, fd);
}

/* Those that ended while a runtime was at work: one of them may be what the runtime will say that it has run. */
static struct {
    pid_t pid;
    int status;
} ended[PROCESSES];
static int ended_count;

/* Whether the process is our child; `status` is -1 if it still runs. */
static int adopted(pid_t pid, int *status) {
    *status = -1;
    for (int i = 0; i < ended_count && i < PROCESSES; i++)
        if (ended[i].pid == pid) {
            *status = ended[i].status;
            return 1;
        }
    int now;
    pid_t found = waitpid(pid, &now, WNOHANG);
    if (found == pid) *status = now;
    return found >= 0;
}

static void runtime_failed(struct process *p, int wait_status) {
    int status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
    static char text[4097];
    TEXT(path, 128);
    put_place(&path, p, ".log");
    size_t length = read_file(path.start, text, sizeof text);
    if (!length && p->fd[2] >= 0) { /* it has said it there */
        ssize_t more = read(p->fd[2], text, sizeof text);
        length = more > 0 ? (size_t)more : 0;
    }
    remove_files(p);
    process_failed(p, 'r', status, text, length);
}

static void runtime_ended(struct process *p, int status) {
    char digits[16];
    TEXT(path, 128);
    p->runtime = 0;
    if (p->terminal && p->aside >= 0) take_terminal(p);
    put_place(&path, p, ".pid");
    size_t length = status ? 0 : read_file(path.start, digits, sizeof digits);
    if (length && digits[length - 1] == '\n') digits[length - 1] = 0;
    long pid = length ? read_number(digits) : -1;
    if (pid <= 1) {
        runtime_failed(p, status);
        return;
    }
    remove_files(p);
    if (!adopted((pid_t)pid, &status)) {
        static const char text[] = "the process that the runtime has run is not the agent's child";
        process_failed(p, 'r', 0, text, sizeof text - 1);
        return;
    }
    if (p->terminal && p->fd[1] < 0) {
        if (status == -1) kill((pid_t)pid, SIGKILL);
        process_failed(p, 't', 0, "the runtime has passed no terminal", 34);
        return;
    }
    p->pid = (pid_t)pid;
    process_started(p);
    if (status != -1) process_ended(p, status);
}

/* ---- RUN ---- */

static int answer_by_file(struct process *p, int fd) {
    p->kind = OWN;
    if (fd < 0) return errno;
    p->fd[1] = fd;
    process_started(p);
    frame(END, number_of(p) * 4 + 2, NULL, 0);
    return 0;
}

static int start_command(struct process *p, char *const *words) {
    int theirs[3], report[2] = {-1, -1};
    int error = process_pipes(p, theirs, 0);
    if (!error && pipe2(report, O_CLOEXEC | O_NONBLOCK)) error = errno;
    p->kind = COMMAND;
    p->stage = STARTING;
    p->aside = report[0];
    if (!error && (p->pid = spawn(words, theirs, -1, report[1])) < 0) error = errno;
    for (int i = 0; i < 3; i++)
        if (theirs[i] >= 0) close(theirs[i]);
    if (report[1] >= 0) close(report[1]);
    return error;
}

void run_command(struct process *p) {
    size_t length = (size_t)p->request_size, size = 0;
    char *text = length ? mmap(NULL, length, PROT_READ, MAP_PRIVATE, p->request, 0) : MAP_FAILED;
    char **words = text == MAP_FAILED ? NULL : words_in(text, length, 0, &size);
    int error = p->request_error, unusable = !words;
    if (!unusable && !error) {
        if (!strcmp(words[0], "@members"))
            error = answer_by_file(p, members_file());
        else if (!strcmp(words[0], "@environ"))
            error = answer_by_file(p, environment_file());
        else
            error = start_command(p, words);
    }
    if (words) munmap(words, size);
    if (text != MAP_FAILED) munmap(text, length);
    if (p->request >= 0) close(p->request);
    p->request = -1;
    if (unusable)
        process_failed(p, 'x', EINVAL, "", 0);
    else if (error)
        process_failed(p, 's', error, "", 0);
}

static void command_answers(struct process *p) {
    int error = 0;
    ssize_t length = read(p->aside, &error, sizeof error);
    if (length < 0) return;
    close(p->aside);
    p->aside = -1;
    if (length == 0)
        process_started(p);
    else
        process_failed(p, 'x', error, "", 0);
}

void run_aside(struct process *p) {
    if (p->kind == COMMAND)
        command_answers(p);
    else
        take_terminal(p);
}

/* ---- their ends ---- */

static int at_work(void) {
    for (int k = 1; k < PROCESSES; k++)
        if (processes[k].stage == STARTING && processes[k].runtime) return 1;
    return 0;
}

static void child_ended(pid_t pid, int status) {
    for (struct process *p = processes + 1; p < processes + PROCESSES; p++) {
        if (p->stage == STARTING && p->runtime == pid) {
            runtime_ended(p, status);
            return;
        }
        if (p->stage == STARTING && p->kind == COMMAND && p->pid == pid) command_answers(p);
        if (p->stage == RUNNING && p->pid == pid && p->kind != OWN) {
            process_ended(p, status);
            return;
        }
    }
    if (!at_work()) return; /* what a failed runtime has left to us */
    ended[ended_count % PROCESSES].pid = pid;
    ended[ended_count++ % PROCESSES].status = status;
}

void run_kill(void) {
    for (struct process *p = processes + 1; p < processes + PROCESSES; p++) {
        if (p->stage == STARTING && p->runtime > 0) kill(p->runtime, SIGKILL);
        if ((p->stage == STARTING || p->stage == RUNNING) && p->pid > 0) kill(p->pid, SIGKILL);
    }
}

void run_reap(void) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) child_ended(pid, status);
    if (!at_work()) ended_count = 0;
}
