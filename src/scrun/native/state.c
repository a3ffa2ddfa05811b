/* The container's state, which the runtime gives a hook on its standard input: JSON, of which two values are needed. */
#include "node.h"

static const char *after_blanks(const char *at) {
    while (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r') at++;
    return at;
}

/* Past the string that begins here. */
static const char *after_string(const char *at) {
    for (at++; *at && *at != '"'; at++)
        if (*at == '\\' && at[1]) at++;
    return *at ? at + 1 : at;
}

/* The value of the outermost object's key; NULL if there is none. An annotation may have the same name, further in. */
static const char *value_of(const char *text, const char *key) {
    size_t length = strlen(key);
    int depth = 0;
    for (const char *at = after_blanks(text); *at;) {
        if (*at == '{' || *at == '[') depth++;
        if (*at == '}' || *at == ']') depth--;
        if (*at != '"') {
            at++;
            continue;
        }
        const char *end = after_string(at), *next = after_blanks(end);
        if (depth == 1 && *next == ':' && (size_t)(end - at) == length + 2 && !strncmp(at + 1, key, length))
            return after_blanks(next + 1);
        at = end;
    }
    return NULL;
}

void read_state(struct state *to) {
    static char text[1 << 20];
    static char rest[4096];
    size_t length = 0;
    ssize_t more;
    while (length < sizeof text - 1 && (more = read(0, text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)more;
    while (read(0, rest, sizeof rest) > 0) {}
    to->pid = 0;
    for (const char *at = value_of(text, "pid"); at && *at >= '0' && *at <= '9' && to->pid < 100000000; at++)
        to->pid = to->pid * 10 + (*at - '0');
    const char *id = value_of(text, "id");
    size_t size = 0;
    for (id = id && *id == '"' ? id + 1 : ""; *id && *id != '"' && size < sizeof to->id - 1; id++) {
        int letter = (*id | 32) >= 'a' && (*id | 32) <= 'z';
        if (!letter && !(*id >= '0' && *id <= '9') && !strchr("_+-.", *id)) break;
        to->id[size++] = *id;
    }
    to->id[size] = 0;
    if (!size || *id != '"') die("the runtime's state has no usable id", NULL, 0);
}
