/* A process, and what goes through its standard input, output and error. */
#include "node.h"

#define READ_AT_ONCE 4      /* payloads of a stream, before others have their turn */
#define TERMINAL_HOLDS 262144 /* more than the kernel keeps of a terminal's output */
#define CREDIT_STEP 65536
#define MOST_BEYOND_CREDIT (1 << 20)

struct process processes[PROCESSES];

uint32_t number_of(const struct process *p) { return (uint32_t)(p - processes); }

void process_begin(struct process *p, enum kind kind) {
    int request = p->request;
    memset(p, 0, sizeof *p);
    p->request = request;
    p->kind = kind;
    p->stage = ASKED;
    p->aside = -1;
    for (int i = 0; i < 3; i++) {
        p->fd[i] = -1;
        p->credit[i] = WINDOW;
    }
}

void process_free(struct process *p) {
    for (int i = 0; i < 3; i++)
        if (p->fd[i] >= 0) close(p->fd[i]);
    if (p->aside >= 0) close(p->aside);
    if (p->request >= 0) close(p->request);
    if (p->input) munmap(p->input, WINDOW);
    memset(p, 0, sizeof *p);
    p->request = p->aside = -1;
}

static int make_pipe(int *ours, int *theirs, int we_write) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC)) return errno;
    *ours = ends[we_write];
    *theirs = ends[!we_write];
    return fcntl(*ours, F_SETFL, (long)(O_NONBLOCK | (we_write ? O_WRONLY : O_RDONLY))) ? errno : 0;
}

/* 0, or errno: then process_free closes our ends, and the caller theirs. */
int process_pipes(struct process *p, int theirs[3], int with_input) {
    int error = 0;
    theirs[0] = theirs[1] = theirs[2] = -1;
    for (int i = with_input ? 0 : 1; i < 3 && !error; i++) error = make_pipe(&p->fd[i], &theirs[i], i == 0);
    return error;
}

void process_terminal(struct process *p, int master) {
    struct winsize size = {p->rows, p->columns, 0, 0};
    if (p->rows && p->columns) ioctl(master, TIOCSWINSZ, &size);
    fcntl(master, F_SETFL, (long)(O_NONBLOCK | O_RDWR));
    p->fd[1] = master;
    p->fd[0] = fcntl(master, F_DUPFD_CLOEXEC, 3L);
}

void process_resize(struct process *p, uint32_t rows_and_columns) {
    struct winsize size = {0};
    size.ws_row = p->rows = (uint16_t)(rows_and_columns >> 16);
    size.ws_col = p->columns = (uint16_t)rows_and_columns;
    if (p->terminal && p->fd[1] >= 0 && size.ws_row && size.ws_col) ioctl(p->fd[1], TIOCSWINSZ, &size);
}

void process_started(struct process *p) {
    p->stage = RUNNING;
    frame_number(STARTED, number_of(p) * 4, (uint32_t)p->pid);
    for (int i = 1; i < 3; i++)
        if (p->unread & 1 << i) process_close(p, i);
    process_feed(p);
}

/* Nothing follows it, but for the end of process 0. */
void process_failed(struct process *p, char where, int error, const char *text, size_t length) {
    frame_failed(number_of(p), where, error, text, length);
    if (p->kind != CONTAINER) {
        process_free(p);
        return;
    }
    for (int i = 0; i < 3; i++)
        if (p->fd[i] >= 0) close(p->fd[i]);
    p->fd[0] = p->fd[1] = p->fd[2] = -1;
}

void process_ended(struct process *p, int wait_status) {
    if (p->kind == CONTAINER)
        p->status = -1;
    else
        p->status = WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
    p->stage = ENDED;
    for (int i = 1; i < 3; i++)
        if (p->fd[i] >= 0) {
            int size = p->terminal ? TERMINAL_HOLDS : fcntl(p->fd[i], F_GETPIPE_SZ);
            p->budget[i] = size <= 0 ? PAYLOAD : size > MOST_BEYOND_CREDIT ? MOST_BEYOND_CREDIT : size;
        }
}

/* ---- standard input ---- */

static void close_input(struct process *p) {
    if (p->terminal) process_close(p, 1); /* a terminal that has no input any more has hung up */
    if (p->fd[0] >= 0) close(p->fd[0]);
    p->fd[0] = -1;
}

/* Nobody reads it any more. */
void process_input_closed(struct process *p) {
    frame(CLOSED, number_of(p) * 4, NULL, 0);
    close(p->fd[0]);
    p->fd[0] = -1;
}

/* How many of the bytes are done with: taken, or nobody takes them any more. */
static size_t write_input(struct process *p, const uint8_t *from, size_t length) {
    if (p->fd[0] < 0) return length;
    ssize_t more = write(p->fd[0], from, length);
    if (more < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (more < 0) {
        process_input_closed(p);
        return length;
    }
    p->taken += (uint32_t)more;
    p->credit[0] += more;
    return (size_t)more;
}

static int input_waits(const struct process *p) {
    return p->fd[0] < 0 && (p->stage == ASKED || (p->stage == STARTING && p->terminal));
}

void process_feed(struct process *p) {
    while (!input_waits(p) && p->input_done < p->input_length) {
        size_t done = write_input(p, p->input + p->input_done, p->input_length - p->input_done);
        if (!done) break;
        p->input_done += done;
    }
    if (p->taken >= CREDIT_STEP) {
        frame_number(CREDIT, number_of(p) * 4, p->taken);
        p->taken = 0;
    }
    if (p->input_done < p->input_length || input_waits(p)) return;
    if (p->input) munmap(p->input, WINDOW);
    p->input = NULL;
    p->input_done = p->input_length = 0;
    if (p->input_ends) close_input(p);
}

void process_input(struct process *p, const uint8_t *from, size_t length) {
    if ((int64_t)length > p->credit[0] || p->input_ends) {
        link_break();
        return;
    }
    p->credit[0] -= (int64_t)length;
    if (!p->input && !input_waits(p)) {
        size_t done = write_input(p, from, length);
        from += done;
        length -= done;
    }
    if (length) {
        if (!p->input) {
            p->input = mmap(NULL, WINDOW, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (p->input == MAP_FAILED) {
                p->input = NULL;
                link_break();
                return;
            }
        }
        if (p->input_length + length > WINDOW) {
            memmove(p->input, p->input + p->input_done, p->input_length - p->input_done);
            p->input_length -= p->input_done;
            p->input_done = 0;
        }
        memcpy(p->input + p->input_length, from, length);
        p->input_length += length;
    }
    process_feed(p);
}

/* ---- standard output and error ---- */

/* login reads it no more: who writes to it learns that when it has started. */
void process_unread(struct process *p, int i) {
    p->unread |= 1 << i;
    if (p->stage >= RUNNING) process_close(p, i);
}

void process_close(struct process *p, int i) {
    if (p->fd[i] < 0) return;
    close(p->fd[i]);
    p->fd[i] = -1;
    frame(END, number_of(p) * 4 + (uint32_t)i, NULL, 0);
    if (p->terminal && p->fd[0] >= 0) {
        close(p->fd[0]);
        p->fd[0] = -1;
    }
}

int wants_output(const struct process *p, int i) {
    return p->stage >= RUNNING && p->fd[i] >= 0 && (p->credit[i] > 0 || p->budget[i] > 0) && link_room() >= PAYLOAD;
}

/* Reads once, and sends what it has read; 0 if there is nothing now, or the stream has ended. */
static size_t pass_on(struct process *p, int i) {
    int64_t most = p->credit[i] > p->budget[i] ? p->credit[i] : p->budget[i];
    if (most > PAYLOAD) most = PAYLOAD;
    ssize_t length = read(p->fd[i], frame_begin(), (size_t)most);
    /* A second look, in case something was written between the kernel's look for output and its look whether the
     * terminal is closed. Nobody has seen that happen. */
    if (length < 0 && errno == EIO && p->terminal) length = read(p->fd[i], frame_begin(), (size_t)most);
    if (length > 0) {
        frame_end(DATA, number_of(p) * 4 + (uint32_t)i, (size_t)length);
        p->credit[i] -= length; /* less than 0: login has got so much more */
        p->budget[i] -= length < p->budget[i] ? length : p->budget[i];
        return (size_t)length;
    }
    if (length == 0 || (errno != EAGAIN && errno != EINTR)) process_close(p, i); /* a terminal's end is EIO */
    p->budget[i] = 0;
    return 0;
}

void process_output(struct process *p, int i) {
    for (int times = 0; times < READ_AT_ONCE && wants_output(p, i); times++)
        if (!pass_on(p, i)) return;
}

/* It has ended: EXIT goes when what was in its pipes then has gone. */
void process_report(struct process *p) {
    for (int i = 1; i < 3; i++) {
        while (p->budget[i] && wants_output(p, i)) pass_on(p, i);
        if (p->budget[i] && p->fd[i] >= 0) return; /* no room now */
    }
    p->stage = REPORTED;
    frame_number(EXIT, number_of(p) * 4, (uint32_t)p->status);
}
