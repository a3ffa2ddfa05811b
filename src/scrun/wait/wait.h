/* What the files of scrun-wait share. main.c says what the program is. */
#ifndef SCRUN_WAIT_H
#define SCRUN_WAIT_H

#include "../native/base.h"

/* ---- main.c ---- */
_Noreturn void python(void); /* something is to be done */
int all_signals(uint64_t which); /* a signalfd of these (bit n - 1 is signal n), all of which are blocked */

/* ---- standin.c ---- */
_Noreturn void stand_in(int channel);

/* ---- window.c ---- */
_Noreturn void watch_window(void);

#endif
