/* scrun-wait: waits in the place of a Python process of scrun's that has nothing to do, and has the same pid.
 *
 *   TITLE NAME standin CHANNEL PYTHON ARGUMENTS…           the stand-in
 *   TITLE NAME events FD:EVENTS,… SIGNALS PYTHON ARGUMENTS…    the anchor, or a stand-in's guard
 *   TITLE NAME window                                      the size of the terminal that is standard input
 *
 * A Python process executes it (scrun.wait), with all signals blocked and with the descriptors that it needs. When
 * there is something to do, this program executes PYTHON with these arguments, which goes on where the other one was
 * (wake.py). TITLE and NAME are what ps(1) shows meanwhile. */
#include "wait.h"

#ifndef TRIES
#define TRIES 10 /* a second apart, to execute Python */
#endif
#define LOST 137 /* the exit status then, as of a stand-in that finds no other */
#define MOST 2048 /* descriptors: a container has at most 1024 agents */

static char **command; /* Python's command line */
static char *const *environment;

/* Python itself ends with 2 without its program, as a container's program may: PYTHON -IS PROGRAM … */
static int is_program_there(void) {
    const char *program = command[1] && command[2] ? command[2] : "";
    return *program != '/' || !faccessat(AT_FDCWD, program, R_OK, 0);
}

/* A stand-in that can't be Python has lost its container. Whatever it still owes, scrun's next create or list pays. */
_Noreturn void python(void) {
    struct timespec second = {1, 0};
    for (int i = 0; i < TRIES; i++) {
        if (is_program_there()) execve(command[0], command, environment);
        nanosleep(&second, NULL);
    }
    _exit(LOST);
}

int all_signals(uint64_t which) {
    sigset_t set;
    sigemptyset(&set);
    for (int number = 1; number <= 64; number++)
        if (which >> (number - 1) & 1) sigaddset(&set, number);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) python();
    return fd;
}

/* The number that a text begins with; `end` is behind it. */
static uint64_t leading_number(const char *text, const char **end) {
    uint64_t number = 0;
    for (; *text >= '0' && *text <= '9'; text++) number = number * 10 + (uint64_t)(*text - '0');
    *end = text;
    return number;
}

/* Nothing is read here, neither from a descriptor nor of a signal: all that has come is Python's. */
_Noreturn static void await_events(const char *list, const char *signals) {
    static struct pollfd set[MOST + 1];
    nfds_t count = 0;
    while (*list) {
        if (count == MOST) python();
        set[count].fd = (int)leading_number(list, &list);
        if (*list == ':') list++;
        set[count++].events = (short)leading_number(list, &list);
        if (*list == ',') list++;
    }
    uint64_t which = leading_number(signals, &signals);
    set[count].fd = which ? all_signals(which) : -1;
    set[count++].events = POLLIN;
    while (poll(set, count, -1) < 0 && errno == EINTR) {}
    python();
}

/* Shows the title alone: the other arguments are copied, and their place is cleared. */
static char **show_title(int count, char **words) {
    static char kept[16384];
    static char *copies[64];
    char *next = kept, *end = words[count - 1] + strlen(words[count - 1]);
    if ((size_t)(end - words[0]) >= sizeof kept || count >= 64) return words;
    for (int i = 0; i < count; i++) {
        copies[i] = next;
        memcpy(next, words[i], strlen(words[i]) + 1);
        next += strlen(words[i]) + 1;
    }
    char *rest = words[0] + strlen(words[0]);
    memset(rest, 0, (size_t)(end - rest));
    return copies;
}

int main(int count, char **arguments, char **variables) {
    environment = variables;
    if (count < 3) {
        static const char line[] = "scrun-wait: scrun's processes execute it themselves, while they wait\n";
        if (write(2, line, sizeof line - 1) < 0) {}
        return 1;
    }
    char **words = show_title(count, arguments);
    prctl(PR_SET_NAME, words[1], 0L, 0L, 0L);
    if (!strcmp(words[2], "window")) watch_window();
    if (!strcmp(words[2], "standin") && count > 4) {
        const char *end;
        command = words + 4;
        stand_in((int)leading_number(words[3], &end));
    }
    if (!strcmp(words[2], "events") && count > 5) {
        command = words + 5;
        await_events(words[3], words[4]);
    }
    return 1;
}
