/* What the files of scrun-front share. main.c says what the program is. */
#ifndef SCRUN_FRONT_H
#define SCRUN_FRONT_H

#include "../native/base.h"

/* ---- main.c ---- */
extern int asked; /* the connection on which the anchor has the request already; -1: there is none */
extern int held;  /* the container's directory, which may be removed once the anchor was asked; -1: not opened yet */
_Noreturn void python(void); /* the call is Python's, from its beginning or from `asked` on */

/* ---- words.c: the command line ---- */
/* What an option is to this program; each that isn't named here is Python's, and so is the call. */
enum meaning { PYTHONS, IGNORED, ROOT, LOG, LOG_FORMAT, ALL, FORCE };
struct option {
    const char *spelling;
    enum meaning meaning;
    int takes_value;
};
struct command {
    const char *name;
    int least, most; /* arguments */
    const struct option *options;
};
struct call {
    const char *verb, *id, *signal; /* signal: NULL if it isn't named */
    const char *values[FORCE + 1];  /* of the options; NULL: it isn't there; a flag's is empty */
};
void read_words(struct call *call, int count, char **words);
int signal_number(const char *name); /* -1: this program doesn't know it */

/* ---- table.c, made from grammar.py: each table ends with a row without a name ---- */
extern const struct option global_options[];
extern const struct command commands[];
extern const struct signal_name {
    const char *name;
    int number;
} signal_names[];
extern const long signals;           /* a number below this one is a signal's, or 0 */
extern const uint64_t record_version; /* the newest form of a record that this program knows */
extern const char oci_version[];

/* ---- record.c: state.json ---- */
struct slice {
    const char *start; /* a value as it is written in JSON; NULL: it isn't there */
    size_t length;
};
enum member {
    VERSION, STATUS, PID, PID_STARTED, BUNDLE, ROOTFS, CREATED, OWNER, ANNOTATIONS, ENVIRONMENT, /* always there */
    ENDING, JOB, JOB_OWNED, RELEASED, STEP_PID, STEP_STARTED, DEBTOR, STAGE_OUT_OWED, LOST, MEMBERS
};
struct record {
    struct slice members[MEMBERS];
};
enum status { IS_CREATING, IS_CREATED, IS_RUNNING, IS_PAUSED, IS_STOPPED };
int read_record(struct record *to, int directory); /* 0: there is none */
uint64_t number(const struct record *record, enum member member); /* 0: it isn't there */
int is_true(const struct record *record, enum member member);
int is_alive(const struct record *record, enum member pid, enum member started);
enum status status(const struct record *record); /* as it is, not only as it was written */
const char *status_name(enum status status);

/* ---- place.c: the container's directory ---- */
struct place {
    int root, directory; /* descriptors */
    const char *id;
};
void open_place(struct place *to, const struct call *call);
void check_owner(const struct place *place);
int has_file(const struct place *place, const char *name);
void remove_place(const struct place *place);

/* ---- anchor.c ---- */
/* Which of the answers came, from 1; 0: there is no anchor. */
int ask(const struct place *place, const char *request, const char *const *answers);

/* ---- delete.c ---- */
void delete_container(const struct place *place);
void delete_missing(const struct place *place, const struct call *call); /* returns if Python has to do it */

#endif
