/* scrun-front: the calls of state, start, kill and delete that engines make, without starting Python.
 *
 *   #!.../scrun-front PYTHON     the first line of the program that `scrun install` writes
 *
 * So the kernel calls it with PYTHON, the program's path, and the words of the command line. It answers a call only
 * where all is as usual. Everything else is Python's: a form that only people write, an option that isn't in table.c as
 * its own, an anchor that has gone or doesn't answer, and every error, so that there is one place that words them.
 * Then it executes PYTHON -IS PROGRAM WORDS, which takes less than a millisecond. */
#include "front.h"

int asked = -1, held = -1;

static char **words, *const *environment;
static int count;
static unsigned long blocked; /* the signals that the caller blocks; bit n - 1 is signal n */

/* As Python's valid_signals: a C library keeps 32 and 33 for itself. */
#define ALL_SIGNALS (~(3UL << 31))

_Noreturn void python(void) {
    const char *line[count + 8];
    TEXT(before, 64);
    TEXT(directory, 64);
    TEXT(connection, 64);
    int length = 0;
    put(&before, "scrun-blocked=");
    put_number(&before, blocked);
    line[length++] = words[1];
    line[length++] = "-X";
    line[length++] = before.start;
    if (asked >= 0 && fcntl(asked, F_SETFD, 0L) == 0) {
        put(&connection, "scrun-asked=");
        put_number(&connection, (uint64_t)asked);
        line[length++] = "-X";
        line[length++] = connection.start;
    }
    if (held >= 0 && fcntl(held, F_SETFD, 0L) == 0) {
        put(&directory, "scrun-directory=");
        put_number(&directory, (uint64_t)held);
        line[length++] = "-X";
        line[length++] = directory.start;
    }
    line[length++] = "-IS";
    for (int i = 2; i <= count; i++) line[length++] = words[i]; /* with the NULL at the end */
    execve(words[1], (char *const *)line, environment);
    TEXT(error, 4400);
    int number = errno;
    put(&error, "scrun: can't run ");
    put(&error, words[1]);
    put(&error, ": ");
    put_error(&error, number);
    put(&error, ": install scrun again\n");
    if (write(2, error.start, error.length) < 0) {}
    _exit(127);
}

/* Levels of the log that somebody has set: Python knows what to say then. */
static int is_told_to_talk(void) {
    static const char *const names[] = {"SCRUN_DEBUG", "SCRUN_FILE_DEBUG", "SCRUN_STDERR_DEBUG", "SCRUN_SYSLOG_DEBUG"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = variable(environment, names[i]);
        if (value && *value) return 1;
    }
    return 0;
}

/* The log file exists after every call, also where there is nothing to say. */
static void make_log(const struct call *call) {
    const char *path = call->values[LOG], *format = call->values[LOG_FORMAT];
    if (format && strcmp(format, "text") && strcmp(format, "json")) python();
    if (!path || !*path) return;
    if (strchr(path, ':')) python(); /* one of crun's forms */
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644L);
    if (fd < 0) python();
    close(fd);
}

static void print_state(const struct place *place) {
    static char buffer[1 << 20];
    static struct record record;
    struct text line = {buffer, 0, sizeof buffer};
    if (!read_record(&record, place->directory) || has_file(place, "deleted")) python();
    enum status now = status(&record);
    put(&line, "{\"ociVersion\": \"");
    put(&line, oci_version);
    put(&line, "\", \"id\": \"");
    put(&line, place->id);
    put(&line, "\", \"pid\": ");
    put_number(&line, now == IS_STOPPED ? 0 : number(&record, PID));
    put(&line, ", \"status\": \"");
    put(&line, status_name(now));
    put(&line, "\"");
    static const struct {
        const char *name;
        enum member member;
    } rest[] = {{"bundle", BUNDLE},
                {"rootfs", ROOTFS},
                {"created", CREATED},
                {"owner", OWNER},
                {"annotations", ANNOTATIONS}};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) {
        put(&line, ", \"");
        put(&line, rest[i].name);
        put(&line, "\": ");
        put_bytes(&line, record.members[rest[i].member].start, record.members[rest[i].member].length);
    }
    put(&line, "}\n");
    if (line.length == line.size - 1) python(); /* it may have been cut off */
    for (size_t written = 0; written < line.length;) {
        ssize_t more = write(1, line.start + written, line.length - written);
        if (more <= 0) python(); /* which says why */
        written += (size_t)more;
    }
}

/* The record, of a container of ours that nobody has deleted. */
static void read_own(struct record *record, const struct place *place) {
    check_owner(place);
    if (!read_record(record, place->directory) || has_file(place, "deleted")) python();
}

static void start_container(const struct place *place) {
    static const char *const answers[] = {"{\"started\": true}\n", "{\"ended\": true}\n", NULL};
    static struct record record;
    read_own(&record, place);
    if (status(&record) != IS_CREATED || is_true(&record, ENDING)) python();
    if (!ask(place, "{\"do\": \"start\"}\n", answers)) python();
}

static void kill_container(const struct place *place, int signal_number) {
    static struct record record;
    read_own(&record, place);
    enum status now = status(&record);
    if (now != IS_CREATED && now != IS_RUNNING && now != IS_PAUSED) python();
    TEXT(request, 64);
    put(&request, "{\"do\": \"kill\", \"signal\": ");
    put_number(&request, (uint64_t)signal_number);
    put(&request, "}\n");
    TEXT(sent, 64);
    put(&sent, "{\"sent\": ");
    put_number(&sent, (uint64_t)signal_number);
    put(&sent, "}\n");
    const char *const answers[] = {sent.start, "{\"ended\": true}\n", NULL};
    if (!ask(place, request.start, answers)) python();
}

int main(int argument_count, char **arguments, char **variables) {
    unsigned long all = ALL_SIGNALS;
    sigset_t set, before;
    memset(&set, 0, sizeof set);
    memset(&before, 0, sizeof before);
    memcpy(&set, &all, sizeof all);
    sigprocmask(SIG_BLOCK, &set, &before); /* see scrun.interrupts */
    memcpy(&blocked, &before, sizeof blocked);
    words = arguments;
    count = argument_count;
    environment = variables;
    if (count < 3) {
        static const char line[] = "scrun-front: it is named in the first line of scrun's program, with a Python\n";
        if (write(2, line, sizeof line - 1) < 0) {}
        return 1;
    }
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD, 0L) < 0) python(); /* what is opened here would take its place */
    struct call call;
    read_words(&call, count - 3, words + 3);
    if (is_told_to_talk()) python();
    int signal = strcmp(call.verb, "kill") ? 0 : signal_number(call.signal ? call.signal : "TERM");
    if (signal < 0) python();
    make_log(&call);
    struct place place;
    open_place(&place, &call);
    if (!strcmp(call.verb, "state"))
        print_state(&place);
    else if (!strcmp(call.verb, "start"))
        start_container(&place);
    else if (!strcmp(call.verb, "kill"))
        kill_container(&place, signal);
    else if (!strcmp(call.verb, "delete"))
        delete_container(&place);
    else
        python();
    _exit(0);
}
