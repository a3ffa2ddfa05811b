/* delete, where the anchor ends the container, or has ended it, and nothing is owed. */
#include "front.h"

#define TO_GO 5000 /* milliseconds that the container's processes have to exit; delete.TO_GO in seconds */

/* The container's processes hold the lock until they exit. */
static int lock(const struct place *place, long patience) {
    long until = milliseconds() + patience, pause = 1;
    while (flock(place->directory, LOCK_EX | LOCK_NB)) {
        if (errno != EWOULDBLOCK || milliseconds() > until) return 0;
        struct timespec time = {0, pause * 1000000};
        nanosleep(&time, NULL);
        pause = pause > 25 ? 50 : 2 * pause;
    }
    return 1;
}

/* Whether recovery.end would find nothing to do. */
static int is_settled(const struct record *record, const struct place *place) {
    const struct slice *lost = &record->members[LOST];
    return status(record) == IS_STOPPED && !is_true(record, STAGE_OUT_OWED) && !record->members[DEBTOR].start &&
           (!lost->start || lost->length == 2) && (!is_true(record, JOB_OWNED) || is_true(record, RELEASED)) &&
           (number(record, JOB) || !has_file(place, "job")) && !is_alive(record, STEP_PID, STEP_STARTED) &&
           !has_file(place, "paid");
}

void delete_container(const struct place *place) {
    static const char *const answers[] = {"{\"ended\": true, \"lost\": \"\"}\n", "{\"ended\": true}\n", NULL};
    static struct record record;
    check_owner(place);
    if (!read_record(&record, place->directory) || record.members[DEBTOR].start) python();
    int is_ended = ask(place, "{\"do\": \"delete\"}\n", answers);
    if (!lock(place, is_ended ? TO_GO : 0)) python();
    if (read_record(&record, place->directory)) {
        if (!is_settled(&record, place)) python();
    } else {
        struct stat facts; /* the anchor has removed what was deleted while it ended */
        if (!is_ended || fstat(place->directory, &facts) || facts.st_nlink) python();
        return;
    }
    remove_place(place);
}
