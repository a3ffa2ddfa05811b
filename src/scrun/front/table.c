/* Made by tests/unit/native/front_table.py from grammar.py. */
#include "front.h"

const struct option global_options[] = {
    {"--root", ROOT, 1},
    {"--log", LOG, 1},
    {"--log-format", LOG_FORMAT, 1},
    {"--log-level", PYTHONS, 1},
    {"--debug", PYTHONS, 0},
    {"-f", PYTHONS, 1},
    {"--cgroup-manager", IGNORED, 1},
    {"--criu", IGNORED, 1},
    {"--rootless", IGNORED, 1},
    {"--systemd-cgroup", IGNORED, 0},
    {0},
};

static const struct option state_options[] = {
    {0},
};

static const struct option start_options[] = {
    {0},
};

static const struct option kill_options[] = {
    {"-a", ALL, 0},
    {"--all", ALL, 0},
    {"-r", PYTHONS, 0},
    {"--regex", PYTHONS, 0},
    {0},
};

static const struct option delete_options[] = {
    {"--force", FORCE, 0},
    {"-f", FORCE, 0},
    {"-r", PYTHONS, 0},
    {"--regex", PYTHONS, 0},
    {0},
};

const struct command commands[] = {
    {"state", 1, 1, state_options},
    {"start", 1, 1, start_options},
    {"kill", 1, 2, kill_options},
    {"delete", 1, 1, delete_options},
    {0},
};

const struct signal_name signal_names[] = {
    {"ABRT", 6},
    {"ALRM", 14},
    {"BUS", 7},
    {"CHLD", 17},
    {"CLD", 17},
    {"CONT", 18},
    {"FPE", 8},
    {"HUP", 1},
    {"ILL", 4},
    {"INT", 2},
    {"IO", 29},
    {"IOT", 6},
    {"KILL", 9},
    {"PIPE", 13},
    {"POLL", 29},
    {"PROF", 27},
    {"PWR", 30},
    {"QUIT", 3},
    {"SEGV", 11},
    {"STKFLT", 16},
    {"STOP", 19},
    {"SYS", 31},
    {"TERM", 15},
    {"TRAP", 5},
    {"TSTP", 20},
    {"TTIN", 21},
    {"TTOU", 22},
    {"URG", 23},
    {"USR1", 10},
    {"USR2", 12},
    {"VTALRM", 26},
    {"WINCH", 28},
    {"XCPU", 24},
    {"XFSZ", 25},
    {0},
};

const long signals = 65;
const uint64_t record_version = 1;
const char oci_version[] = "1.2.1";
