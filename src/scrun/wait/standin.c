/* The stand-in while its container runs: it passes on its signals, and exits when the anchor says how the container has
 * ended. Every other message is Python's, and so is the anchor's end (scrun.lifecycle.standin). */
#include "wait.h"

/* As Python's valid_signals, without those that can't be caught or aren't meant for the container. */
#define BIT(number) (1UL << ((number) - 1))
#define SIGNALS (~(3UL << 31 | BIT(SIGKILL) | BIT(SIGSTOP)))

static void pass_on(int channel, int number) {
    TEXT(line, 64);
    put(&line, "{\"do\": \"kill\", \"signal\": ");
    put_number(&line, (uint64_t)number);
    put(&line, "}\n");
    for (size_t sent = 0; sent < line.length;) {
        ssize_t more = send(channel, line.start + sent, line.length - sent, MSG_NOSIGNAL);
        if (more <= 0) return; /* the anchor has gone, as the channel will tell */
        sent += (size_t)more;
    }
}

/* Of a pid namespace's first process also those that others have left. */
static void reap(void) {
    while (waitpid(-1, NULL, WNOHANG) > 0) {}
}

/* The message is looked at in the channel (MSG_PEEK), so that Python reads whatever isn't plain. */
static void hear(int channel) {
    static const char before[] = "{\"do\": \"exit\", \"status\": ";
    char message[64];
    size_t at = sizeof before - 1;
    ssize_t length = recv(channel, message, sizeof message, MSG_PEEK | MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (length < (ssize_t)at || memcmp(message, before, at)) python();
    int status = 0;
    for (; at < (size_t)length && message[at] >= '0' && message[at] <= '9' && status < 256; at++)
        status = status * 10 + (message[at] - '0');
    if (at + 2 > (size_t)length || message[at] != '}' || message[at + 1] != '\n' || status > 255) python();
    _exit(status);
}

_Noreturn void stand_in(int channel) {
    int signals = all_signals(SIGNALS);
    struct pollfd set[] = {{channel, POLLIN, 0}, {signals, POLLIN, 0}};
    reap();
    for (;;) {
        struct signalfd_siginfo signal;
        if (poll(set, 2, -1) < 0) continue;
        while (read(signals, &signal, sizeof signal) == sizeof signal) {
            if (signal.ssi_signo == SIGCHLD)
                reap();
            else if (signal.ssi_signo != SIGPIPE)
                pass_on(channel, (int)signal.ssi_signo);
        }
        if (set[0].revents) hear(channel);
    }
}
