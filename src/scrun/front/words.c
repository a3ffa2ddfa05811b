/* The command line, as argv.py reads it: the global options, the verb, its options, its arguments. */
#include "front.h"

/* Reads options from the beginning of the words on; the result is how many words they are. */
static int read_options(struct call *call, const struct option *known, int count, char **words) {
    int position = 0;
    for (; position < count && words[position][0] == '-'; position++) {
        const char *word = words[position], *value = "";
        const char *equals = strchr(word, '=');
        size_t length = equals ? (size_t)(equals - word) : strlen(word);
        const struct option *option = known;
        while (option->spelling && (strlen(option->spelling) != length || strncmp(option->spelling, word, length)))
            option++;
        if (!option->spelling || option->meaning == PYTHONS) python();
        if (equals && (!option->takes_value || strncmp(word, "--", 2))) python();
        if (equals)
            value = equals + 1;
        else if (option->takes_value) {
            if (++position == count) python();
            value = words[position];
        }
        call->values[option->meaning] = value;
    }
    return position;
}

void read_words(struct call *call, int count, char **words) {
    memset(call, 0, sizeof *call);
    int position = read_options(call, global_options, count, words);
    if (position == count) python();
    const struct command *command = commands;
    while (command->name && strcmp(command->name, words[position])) command++;
    if (!command->name) python();
    call->verb = command->name;
    position++;
    position += read_options(call, command->options, count - position, words + position);
    int arguments = count - position;
    if (arguments < command->least || arguments > command->most || arguments < 1) python();
    for (int i = position; i < count; i++)
        if (words[i][0] == '-') python();
    call->id = words[position];
    if (arguments > 1) call->signal = words[position + 1];
}

static char upper(char letter) { return letter >= 'a' && letter <= 'z' ? (char)(letter - 'a' + 'A') : letter; }

int signal_number(const char *name) {
    char text[19]; /* and so many digits at most are a number (digits.py) */
    size_t length = strlen(name);
    if (length >= sizeof text) return -1;
    for (size_t i = 0; i <= length; i++) text[i] = upper(name[i]);
    long number = read_number(text);
    if (number >= 0) return number < signals ? (int)number : -1;
    const char *rest = strncmp(text, "SIG", 3) ? text : text + 3;
    for (const struct signal_name *one = signal_names; one->name; one++)
        if (!strcmp(one->name, rest)) return one->number;
    return -1;
}
