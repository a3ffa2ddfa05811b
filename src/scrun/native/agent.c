/* The agent: begun by the hook createRuntime, it stays as long as the container, and longer if login hasn't got all. */
#include "node.h"

#define IDLE 1000 /* milliseconds without anything to do, after which memory is given back */
#define FLUSHERS 8

struct agent agent;

static int child_signals, flushers[FLUSHERS], flusher_count, is_done, bye;

/* ---- the hook createRuntime ---- */

static char task_variable[32] = "task=0"; /* for oci.conf's patterns */

void agent_set_task(uint32_t number) {
    struct text to = {task_variable, 5, sizeof task_variable};
    put_number(&to, number);
    agent.task = number;
}

/* The runtime's own environment, as slurmstepd ran it: a hook may have been given none. */
static char *const *environment_of(pid_t pid, char *const *otherwise) {
    const size_t most = 4 << 20;
    TEXT(path, 64);
    put(&path, "/proc/");
    put_number(&path, (uint64_t)pid);
    put(&path, "/environ");
    char *text = mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (text == MAP_FAILED) return otherwise;
    size_t length = read_file(path.start, text, most), n = 0, size;
    char **list = words_in(text, length + (length && text[length - 1]), 1, &size);
    if (!list) return otherwise;
    while (list[n]) n++;
    list[n] = task_variable;
    return list;
}

/* The agent has nothing of the runtime's: its readers would wait for it. */
static void detach(void) {
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    setsid();
    prctl(PR_SET_CHILD_SUBREAPER, 1L);
    prctl(PR_SET_DUMPABLE, 0L); /* it has the key */
    if (chdir("/")) {}
    for (int i = 0; i < 3; i++) dup2(nothing, i);
    close(nothing);
    for (int number = 1; number < 32; number++)
        signal(number, number == SIGCHLD ? SIG_DFL : SIG_IGN); /* a cancelled step: what is left is delivered first */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_SETMASK, &set, NULL);
    child_signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* crun gives a hook's standard error to nobody; its own goes to who has called it. */
static void tell_runtime(const char *line, size_t length) {
    struct stat own;
    TEXT(path, 64);
    if (fstat(2, &own) || !S_ISCHR(own.st_mode)) return; /* /dev/null is one */
    put(&path, "/proc/");
    put_number(&path, (uint64_t)getppid());
    put(&path, "/fd/2");
    int fd = open(path.start, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0 && write(fd, line, length) == (ssize_t)length && write(fd, "\n", 1) < 0) {}
}

/* 1 in the agent, 0 in the hook, when the agent has begun. */
int agent_connect(const char *connection, char *const *environment) {
    last_words = tell_runtime;
    read_state(&agent.state);
    read_settings(connection);
    agent.environment = environment_of(getppid(), environment);
    agent.first = (int)syscall(SYS_pidfd_open, (long)agent.state.pid, 0L, 0L, 0L, 0L, 0L);
    if (agent.first < 0) die("cannot watch the container's first process", NULL, errno);
    fcntl(agent.first, F_SETFD, (long)FD_CLOEXEC);
    int error = link_begin();
    if (error || link_ended()) {
        TEXT(address, 64);
        put_address(&address, link_address(0));
        die("this node cannot connect to the login host at", address.start, error);
    }
    agent.meeting = meet(&agent.state, agent.environment);
    members_begin(agent.state.pid);
    for (struct process *p = processes; p < processes + PROCESSES; p++) p->request = p->aside = -1;
    process_begin(&processes[0], CONTAINER);
    processes[0].pid = agent.state.pid;
    pid_t child = fork();
    if (child < 0) {
        error = errno;
        part();
        die("cannot start the agent", NULL, error);
    }
    if (child) return 0;
    detach();
    return 1;
}

/* ---- login's messages ---- */

static void signal_one(struct process *p, uint32_t request, int number) {
    long done = -1;
    errno = ESRCH;
    if (p->kind == CONTAINER && p->stage < ENDED)
        done = syscall(SYS_pidfd_send_signal, (long)agent.first, (long)number, 0L, 0L, 0L, 0L);
    else if (p->stage == RUNNING && p->pid > 0) /* our child, which nobody else reaps */
        done = kill(p->pid, number);
    frame_answer(number_of(p), request, done ? errno : 0, "");
}

static void take_signal(struct process *p, const uint8_t *payload) {
    uint32_t request = get32(payload), number = get32(payload + 4);
    if (number > 64 || payload[8] > 1) {
        link_break();
    } else if (payload[8]) {
        members_signal(request, (int)number);
    } else if (p->stage == FREE) {
        frame_answer(number_of(p), request, ESRCH, "");
    } else {
        signal_one(p, request, (int)number);
    }
}

void take_message(enum message type, uint32_t stream, const uint8_t *payload, size_t length) {
    struct process *p = &processes[stream / 4];
    if (type == START) first_start(get32(payload));
    if (type == STOP) members_stop(get32(payload));
    if (type == CONTINUE) members_continue(get32(payload));
    if (type == SIGNAL) take_signal(p, payload);
    if (type == PART && number_of(p) == 0 && first_is_started()) link_break();
    else if (type == PART) run_part(p, payload, length);
    if (type == BYE) {
        bye = 1;
        if (!is_done) link_break();
    }
    if ((type == EXEC || type == RUN) && (p->stage != ASKED || p->request < 0 || (type == EXEC && payload[0] > 1)))
        link_break();
    else if (type == EXEC)
        run_exec(p, payload[0], get32(payload + 1));
    else if (type == RUN)
        run_command(p);
    if (p->stage == FREE || link_ended()) return; /* it has ended meanwhile */
    if (type == DATA) process_input(p, payload, length);
    if (type == END) {
        p->input_ends = 1;
        process_feed(p);
    }
    if (type == CREDIT) {
        p->credit[stream % 4] += get32(payload);
        if (p->credit[stream % 4] > WINDOW) link_break();
    }
    if (type == CLOSED) process_unread(p, (int)(stream % 4));
    if (type == RESIZE) process_resize(p, get32(payload));
}

/* ---- the hooks inside and flush ---- */

static void take_hook(void) {
    int fds[2] = {-1, -1}, count = 0, length = 0;
    char text[1024], letter;
    int peer = accept4(agent.meeting, NULL, NULL, SOCK_CLOEXEC);
    if (peer < 0) return;
    struct pollfd set = {peer, POLLIN, 0};
    if (poll(&set, 1, 1000) == 1) length = receive_descriptors(peer, text, sizeof text, fds, 2, &count);
    letter = length == 1 ? text[0] : 0;
    if (letter == 'i' && count) {
        first_listens(fds[0], fds[1]);
        send(peer, "k", 1, MSG_NOSIGNAL);
    } else if (letter == 'n' && count == 2 && settings.network) {
        network_begin(peer, fds[0], fds[1]); /* which answers when it is there */
        return;
    } else if (letter == 'f' && flusher_count < FLUSHERS) {
        flushers[flusher_count++] = peer; /* closed when this process ends */
        return;
    } else if (length > 1) {
        frame(NOTE, 0, text, (size_t)length); /* why the hook `inside` has failed */
    }
    close(peer);
}

/* ---- the loop ---- */

enum watched { LINK, MEETING, FIRST, LISTENER, INIT, CHILDREN, NETWORK, FIXED };
static struct pollfd watched[FIXED + PROCESSES * 4];
static struct {
    struct process *process;
    int what; /* 0 to 2: a stream, 3: aside */
} about[PROCESSES * 4];

static int watch(void) {
    const struct pollfd fixed[FIXED] = {
        {link_descriptor(), (short)(POLLIN | (link_wants_to_send() ? POLLOUT : 0)), 0},
        {agent.meeting, POLLIN, 0},
        {processes[0].stage < ENDED ? agent.first : -1, POLLIN, 0},
        {first_listener(), POLLIN, 0},
        {first_socket(), POLLIN, 0},
        {child_signals, POLLIN, 0},
        {network_socket(), POLLIN, 0},
    };
    memcpy(watched, fixed, sizeof fixed);
    int n = FIXED;
    for (struct process *p = processes; p < processes + PROCESSES; p++) {
        if (p->stage == FREE) continue;
        for (int i = 0; i < 4; i++) {
            int fd = i < 3 ? p->fd[i] : p->kind == CONTAINER ? -1 : p->aside;
            short events = POLLIN;
            if (i == 0) events = p->input_done < p->input_length ? POLLOUT : 0; /* POLLERR: its reader is gone */
            if (fd < 0 || (i == 0 && p->terminal && !events)) continue;
            if ((i == 1 || i == 2) && !wants_output(p, i)) continue;
            about[n - FIXED].process = p;
            about[n - FIXED].what = i;
            watched[n++] = (struct pollfd){fd, events, 0};
        }
    }
    return n;
}

static int least(int a, int b) { return a < 0 ? b : b < 0 || a < b ? a : b; }

static void serve_streams(int n) {
    for (int k = FIXED; k < n; k++) {
        struct process *p = about[k - FIXED].process;
        int what = about[k - FIXED].what;
        if (!watched[k].revents || p->stage == FREE) continue;
        if (what == 3) {
            if (p->aside >= 0) run_aside(p);
        } else if (p->fd[what] >= 0 && what) {
            process_output(p, what);
        } else if (p->fd[what] >= 0) {
            if (watched[k].revents & POLLERR && !p->terminal && p->input_done == p->input_length)
                process_input_closed(p);
            else
                process_feed(p);
        }
    }
}

static void serve_ends(void) {
    int busy = 0;
    for (struct process *p = processes + PROCESSES - 1; p >= processes; p--) {
        if (p->kind == OWN && p->stage == RUNNING && p->fd[1] < 0) process_ended(p, 0);
        if (p->stage == ENDED && !(p == processes && busy)) process_report(p);
        if (p > processes && p->stage == REPORTED && p->fd[1] < 0 && p->fd[2] < 0) process_free(p);
        if (p > processes && (p->stage == STARTING || p->stage == RUNNING || p->stage == ENDED)) busy = 1;
    }
    if (processes[0].stage >= ENDED && busy) run_kill();
    if (processes[0].stage == REPORTED && !is_done) {
        is_done = 1;
        frame(DONE, 0, NULL, 0);
    }
}

static void turn(void) {
    int n = watch(), wait = least(link_wait(), members_wait());
    if (link_is_dirty()) wait = least(wait, IDLE);
    if (processes[0].stage == ENDED) wait = least(wait, 100); /* for those that are being killed */
    int ready = poll(watched, (nfds_t)n, wait);
    if (ready < 0) return;
    if (ready == 0) link_release();
    if (watched[MEETING].revents) take_hook();
    if (watched[LISTENER].revents) first_comes();
    if (watched[INIT].revents) first_answers();
    if (watched[NETWORK].revents) network_says();
    if (processes[0].stage >= ENDED) network_stop();
    serve_streams(n);
    if (watched[CHILDREN].revents) {
        struct signalfd_siginfo taken;
        while (read(child_signals, &taken, sizeof taken) > 0) {}
        run_reap();
    }
    if (watched[FIRST].revents && processes[0].stage < ENDED) {
        if (first_socket() >= 0) first_answers();
        agent.meeting = meet_again(agent.meeting, &agent.state, agent.environment); /* the hook flush comes soon */
        process_ended(&processes[0], 0);
    }
    if (watched[LINK].revents && link_descriptor() >= 0) link_receive();
    link_try();
    members_look();
    serve_ends();
    link_flush();
}

void agent_serve(void) {
    while (!bye && !link_ended() && !link_is_given_up()) turn();
    if (processes[0].stage < REPORTED || !is_done) members_kill();
    if (!bye && !link_ended()) cancel_job();
    network_end();
    part();
}
