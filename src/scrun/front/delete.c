/* delete, where the anchor ends the container, or has ended it, and nothing is owed; and of one that is gone. */
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
    static const char *const answers[] = {"{\"deleted\": true}\n", "{\"ended\": true, \"lost\": \"\"}\n",
                                          "{\"ended\": true}\n", NULL};
    static struct record record;
    check_owner(place);
    if (!read_record(&record, place->directory) || record.members[DEBTOR].start) python();
    int is_ended = ask(place, "{\"do\": \"delete\"}\n", answers);
    if (is_ended == 1) return; /* the anchor gives the job back, and removes the directory */
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

static void put_hex(struct text *to, uint64_t number) {
    char digits[16];
    int at = sizeof digits;
    do {
        digits[--at] = "0123456789abcdef"[number & 15];
        number >>= 4;
    } while (number);
    put_bytes(to, digits + at, sizeof digits - (size_t)at);
}

/* Whether Slurm was asked in this boot for jobs whose containers are gone (scrun.lifecycle.recovery.sweep.is_due). */
static int is_swept(int root) {
    char boot[64], self[16], found[64] = "";
    struct stat namespace;
    TEXT(mark, 64);
    if (!read_file("/proc/sys/kernel/random/boot_id", boot, sizeof boot)) return 0;
    for (const char *at = boot; *at && mark.length < 12; at++)
        if (*at != '-') put_bytes(&mark, at, 1);
    if (!read_file("/proc/self/stat", self, sizeof self) || stat("/proc/self/ns/pid", &namespace)) return 0;
    char *end = self; /* a /proc of another pid namespace has another number, or none: that is Python's */
    while (*end >= '0' && *end <= '9') end++;
    *end = 0;
    if (read_number(self) != getpid()) return 0;
    put(&mark, ".");
    put_hex(&mark, namespace.st_ino);
    put(&mark, "\n");
    int fd = openat(root, ".swept", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, found, sizeof found);
    if (fd >= 0) close(fd);
    return length == (ssize_t)mark.length && !strncmp(found, mark.start, mark.length);
}

void delete_missing(const struct place *place, const struct call *call) {
    if (!strcmp(call->verb, "delete") && call->values[FORCE] && is_swept(place->root)) _exit(0);
}
