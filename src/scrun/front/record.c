/* state.json, the container's record. Only one that has the form in which scrun writes it is read here (fastjson.py):
 * one line, `", "` and `": "` between the parts, ASCII with the shortest escapes. So a value can be printed as it is.
 * Another form, and a member that is used here and isn't what it should be, is Python's. */
#include "front.h"

#define DEEPEST 64
#define LARGEST (1 << 19) /* bytes of a record */

static const char *const names[MEMBERS] = {
    [VERSION] = "version",         [STATUS] = "status",           [PID] = "pid",
    [PID_STARTED] = "pid_started", [BUNDLE] = "bundle",           [ROOTFS] = "rootfs",
    [CREATED] = "created",         [OWNER] = "owner",             [ANNOTATIONS] = "annotations",
    [ENVIRONMENT] = "environment", [ENDING] = "ending",           [JOB] = "job",
    [JOB_OWNED] = "job_owned",     [RELEASED] = "released",       [STEP_PID] = "step_pid",
    [STEP_STARTED] = "step_started", [DEBTOR] = "debtor",         [STAGE_OUT_OWED] = "stage_out_owed",
    [LOST] = "lost",
};
static const char *const statuses[] = {"creating", "created", "running", "paused", "stopped"};

static int is_digit(char letter) { return letter >= '0' && letter <= '9'; }

/* Each of these returns what is behind the value; NULL: it isn't written as scrun writes it. */

static const char *escape(const char *at) {
    if (*at == 'u') {
        unsigned code = 0;
        for (int i = 1; i <= 4; i++) {
            char letter = at[i];
            if (!is_digit(letter) && !(letter >= 'a' && letter <= 'f')) return NULL;
            code = code * 16 + (unsigned)(is_digit(letter) ? letter - '0' : letter - 'a' + 10);
        }
        if ((code >= ' ' && code <= '~') || (code && code < ' ' && strchr("\b\f\n\r\t", (char)code))) return NULL;
        return at + 5;
    }
    return *at && strchr("\"\\bfnrt", *at) ? at + 1 : NULL;
}

static const char *string(const char *at) {
    if (*at++ != '"') return NULL;
    while (at && *at != '"') {
        if (*at < ' ' || *at > '~') return NULL;
        at = *at == '\\' ? escape(at + 1) : at + 1;
    }
    return at ? at + 1 : NULL;
}

static const char *word(const char *at, const char *text) {
    return strncmp(at, text, strlen(text)) ? NULL : at + strlen(text);
}

static const char *value(const char *at, int depth);

/* The members of an object, or the elements of an array, each given to `member` if that isn't NULL. */
static const char *group(const char *at, int depth, void (*member)(void *, struct slice, struct slice), void *about) {
    char end = *at == '{' ? '}' : ']';
    if (depth > DEEPEST) return NULL;
    if (*++at == end) return at + 1;
    for (;;) {
        struct slice name = {at, 0}, content;
        if (end == '}') {
            if (!(at = string(at))) return NULL;
            name.length = (size_t)(at - name.start);
            if (!(at = word(at, ": "))) return NULL;
        }
        content.start = at;
        if (!(at = value(at, depth + 1))) return NULL;
        content.length = (size_t)(at - content.start);
        if (member) member(about, name, content);
        if (*at == end) return at + 1;
        if (!(at = word(at, ", "))) return NULL;
    }
}

static const char *value(const char *at, int depth) {
    if (*at == '"') return string(at);
    if (*at == '{' || *at == '[') return group(at, depth, NULL, NULL);
    if (*at == 't') return word(at, "true");
    if (*at == 'f') return word(at, "false");
    if (*at == 'n') return word(at, "null");
    const char *begin = at;
    if (*at == '-') at++;
    if (!is_digit(*at) || (*at == '0' && is_digit(at[1]))) return NULL;
    while (is_digit(*at)) at++;
    if (at - begin > 20 || *at == '.' || *at == 'e') return NULL; /* no record has such a number */
    return at;
}

static void take(void *about, struct slice name, struct slice content) {
    struct record *record = about;
    for (int i = 0; i < MEMBERS; i++)
        if (name.length == strlen(names[i]) + 2 && !strncmp(name.start + 1, names[i], name.length - 2))
            record->members[i] = content;
}

static int is_number(struct slice slice) { return is_digit(*slice.start); }
static int is_flag(struct slice slice) { return *slice.start == 't' || *slice.start == 'f'; }
static int is_text(struct slice slice) { return *slice.start == '"'; }

static void note_no_text(void *about, struct slice name, struct slice content) {
    (void)name;
    if (!is_text(content)) *(int *)about = 1;
}

static int is_map(struct slice slice) {
    int has_other = 0;
    return *slice.start == '{' && group(slice.start, 0, note_no_text, &has_other) && !has_other;
}

/* RFC 3339, as log.timestamp writes it; empty: not yet. */
static int is_stamp(struct slice slice) {
    static const char form[] = "\"0000-00-00T00:00:00.000000000Z\"";
    if (slice.length == 2) return is_text(slice);
    if (slice.length != sizeof form - 1) return 0;
    for (size_t i = 0; i < slice.length; i++)
        if (form[i] == '0' ? !is_digit(slice.start[i]) : slice.start[i] != form[i]) return 0;
    return 1;
}

uint64_t number(const struct record *record, enum member member) {
    uint64_t result = 0;
    const struct slice *slice = &record->members[member];
    for (size_t i = 0; i < slice->length; i++) {
        if (result >= 1000000000000000000) python();
        result = result * 10 + (uint64_t)(slice->start[i] - '0');
    }
    return result;
}

int is_true(const struct record *record, enum member member) {
    return record->members[member].start && *record->members[member].start == 't';
}

static int written_status(const struct record *record) {
    struct slice slice = record->members[STATUS];
    for (int i = 0; i < (int)(sizeof statuses / sizeof *statuses); i++)
        if (slice.length == strlen(statuses[i]) + 2 && !strncmp(slice.start + 1, statuses[i], slice.length - 2))
            return i;
    return -1;
}

/* As scrun.lifecycle.container.record.fault, for the members that are used here. */
static int is_sound(const struct record *record) {
    static const enum member numbers[] = {VERSION, PID, PID_STARTED, JOB, STEP_PID, STEP_STARTED};
    static const enum member small[] = {VERSION, PID, JOB, STEP_PID}; /* of 32 bits */
    static const enum member times[] = {PID_STARTED, STEP_STARTED}; /* of 63 */
    static const enum member flags[] = {ENDING, JOB_OWNED, RELEASED, STAGE_OUT_OWED};
    static const enum member texts[] = {STATUS, BUNDLE, ROOTFS, OWNER, LOST};
    const struct slice *members = record->members;
    for (int i = STATUS; i <= ENVIRONMENT; i++)
        if (!members[i].start) return 0;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (members[numbers[i]].start && !is_number(members[numbers[i]])) return 0;
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        if (number(record, small[i]) >> 32) return 0;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        if (number(record, times[i]) >> 63) return 0;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (members[flags[i]].start && !is_flag(members[flags[i]])) return 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (members[texts[i]].start && !is_text(members[texts[i]])) return 0;
    return number(record, VERSION) <= record_version && written_status(record) >= 0 && is_map(members[ANNOTATIONS]) &&
           is_map(members[ENVIRONMENT]) && is_stamp(members[CREATED]);
}

int read_record(struct record *to, int directory) {
    static char content[LARGEST];
    size_t length = 0;
    ssize_t more = 1;
    int fd = openat(directory, "state.json", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        if (errno != ENOENT) python();
        return 0;
    }
    while (length < sizeof content - 1 && (more = read(fd, content + length, sizeof content - 1 - length)) > 0)
        length += (size_t)more;
    close(fd);
    content[length] = 0;
    memset(to, 0, sizeof *to);
    const char *end = more == 0 && *content == '{' ? group(content, 0, take, to) : NULL;
    if (!end || *end != '\n' || end + 1 != content + length || !is_sound(to)) python();
    return 1;
}

/* Whether the process with that pid and that start time still runs (scrun.lifecycle.process.processes). */
int is_alive(const struct record *record, enum member pid, enum member started) {
    char content[2048];
    TEXT(path, 64);
    uint64_t when = number(record, started), found = 0;
    if (!number(record, pid) || !when) return 0;
    put(&path, "/proc/");
    put_number(&path, number(record, pid));
    put(&path, "/stat");
    if (!read_file(path.start, content, sizeof content)) return 0;
    const char *at = NULL; /* behind the command */
    for (const char *one = content; *one; one++)
        if (*one == ')') at = one;
    if (!at || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X') return 0;
    at += 2;
    for (int i = 0; i < 19; i++) { /* proc_pid_stat(5), field 22 */
        if (!(at = strchr(at, ' '))) return 0;
        at++;
    }
    for (; is_digit(*at); at++) found = found * 10 + (uint64_t)(*at - '0');
    return found == when;
}

enum status status(const struct record *record) {
    enum status written = (enum status)written_status(record);
    return written == IS_STOPPED || is_alive(record, PID, PID_STARTED) ? written : IS_STOPPED;
}

const char *status_name(enum status status) { return statuses[status]; }
