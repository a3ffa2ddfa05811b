/* Reports the size of the terminal that is standard input, rows and columns in two bytes each, first and whenever it
 * has changed, on standard output, until nobody reads there. See scrun.lifecycle.connection.window. */
#include "wait.h"

static void report(void) {
    struct winsize size = {0};
    ioctl(0, TIOCGWINSZ, &size);
    const uint8_t told[] = {(uint8_t)(size.ws_row >> 8), (uint8_t)size.ws_row, (uint8_t)(size.ws_col >> 8),
                            (uint8_t)size.ws_col};
    if (write(1, told, sizeof told) != sizeof told) _exit(0);
}

/* The kernel tells a change to the terminal's session. Where that is another's, the first report is all. */
_Noreturn void watch_window(void) {
    int signals = all_signals(1UL << (SIGWINCH - 1));
    int is_ours = !ioctl(0, TIOCSCTTY, 0L);
    struct pollfd set[] = {{1, 0, 0}, {signals, POLLIN, 0}};
    for (;;) {
        report();
        if (!is_ours) _exit(0);
        while (poll(set, 2, -1) < 0) {}
        if (set[0].revents) _exit(0);
        struct signalfd_siginfo signal;
        while (read(signals, &signal, sizeof signal) == sizeof signal) {}
    }
}
