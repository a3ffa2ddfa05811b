/* The bundle's file `connection`, and the addresses in it. */
#include "node.h"

struct settings settings;

static int read_v4(const char *text, uint8_t *to) {
    for (int i = 0; i < 4; i++) {
        int number = 0, digits = 0;
        for (; *text >= '0' && *text <= '9' && digits < 3; text++, digits++) number = number * 10 + (*text - '0');
        if (!digits || number > 255 || *text != (i < 3 ? '.' : 0)) return -1;
        to[i] = (uint8_t)number;
        text++;
    }
    return 0;
}

/* Groups of hex digits between colons; "::" stands for as many zeros as are missing; the end may be an IPv4 address. */
static int read_v6(const char *text, uint8_t *to) {
    uint8_t bytes[16] = {0};
    int count = 0, gap = -1;
    if (text[0] == ':' && text[1] != ':') return -1;
    while (*text) {
        if (text[0] == ':' && text[1] == ':') {
            if (gap >= 0) return -1;
            gap = count;
            text += 2;
            continue;
        }
        if (*text == ':') text++;
        if (count <= 12 && read_v4(text, bytes + count) == 0) {
            count += 4;
            break;
        }
        unsigned number = 0;
        int digits = 0;
        for (; *text && *text != ':'; text++, digits++) {
            char letter = *text;
            int digit = letter >= '0' && letter <= '9'   ? letter - '0'
                        : (letter | 32) >= 'a' && (letter | 32) <= 'f' ? (letter | 32) - 'a' + 10
                                                                       : -1;
            if (digit < 0 || digits == 4) return -1;
            number = number * 16 + (unsigned)digit;
        }
        if (!digits || count > 14) return -1;
        bytes[count++] = (uint8_t)(number >> 8);
        bytes[count++] = (uint8_t)number;
    }
    if (gap < 0 ? count != 16 : count > 14) return -1;
    if (gap < 0) gap = count;
    memset(to, 0, 16);
    memcpy(to, bytes, (size_t)gap);
    memcpy(to + 16 - (count - gap), bytes + gap, (size_t)(count - gap));
    return 0;
}

/* "ADDRESS PORT" */
int read_address(const char *text, struct sockaddr_storage *to) {
    char address[64];
    const char *blank = strchr(text, ' ');
    if (!blank || (size_t)(blank - text) >= sizeof address) return -1;
    memcpy(address, text, (size_t)(blank - text));
    address[blank - text] = 0;
    long port = read_number(blank + 1);
    if (port < 1 || port > 65535) return -1;
    memset(to, 0, sizeof *to);
    struct sockaddr_in *v4 = (struct sockaddr_in *)to;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;
    uint8_t *port_bytes = (uint8_t *)(strchr(address, ':') ? &v6->sin6_port : &v4->sin_port);
    port_bytes[0] = (uint8_t)(port >> 8);
    port_bytes[1] = (uint8_t)port;
    to->ss_family = strchr(address, ':') ? AF_INET6 : AF_INET;
    if (to->ss_family == AF_INET6) return read_v6(address, (uint8_t *)&v6->sin6_addr);
    return read_v4(address, (uint8_t *)&v4->sin_addr);
}

/* scrun-agent-JOB- and 32 hex digits; no slash. */
static int is_meeting(const char *value) {
    uint8_t bytes[16];
    if (strncmp(value, "scrun-agent-", 12)) return 0;
    for (value += 12; *value >= '0' && *value <= '9'; value++) continue;
    return *value == '-' && read_hex(value + 1, bytes, 16) == 0;
}

static int keep(char *to, size_t size, const char *value) {
    size_t length = strlen(value);
    if (!length || length >= size) return -1;
    memcpy(to, value, length + 1);
    return 0;
}

/* "KIND SOFT" or "KIND SOFT HARD" */
static int take_limit(char *value) {
    uint8_t soft[8], hard[8] = {0};
    char *after_kind = strchr(value, ' '), *after_soft = after_kind ? strchr(after_kind + 1, ' ') : NULL;
    if (!after_kind || settings.limit_count == LIMITS) return -1;
    *after_kind = 0;
    if (after_soft) *after_soft = 0;
    long kind = read_number(value);
    if (kind < 0 || kind > 255 || read_hex(after_kind + 1, soft, sizeof soft)) return -1;
    if (after_soft && read_hex(after_soft + 1, hard, sizeof hard)) return -1;
    settings.limits[settings.limit_count].kind = kind;
    settings.limits[settings.limit_count].soft = get64(soft);
    settings.limits[settings.limit_count].hard = get64(hard);
    settings.limits[settings.limit_count++].is_hard = after_soft != NULL;
    return 0;
}

static int take(const char *name, char *value) {
    if (!strcmp(name, "version")) return strcmp(value, "1") ? -1 : 0;
    if (!strcmp(name, "key")) return read_hex(value, settings.key, sizeof settings.key);
    if (!strcmp(name, "meeting"))
        return is_meeting(value) ? keep(settings.meeting, sizeof settings.meeting, value) : -1;
    if (!strcmp(name, "runtime")) return keep(settings.runtime, sizeof settings.runtime, value);
    if (!strcmp(name, "carried")) {
        char *to = settings.carried[*settings.carried[0] ? 1 : 0];
        return *value == '/' && !*to ? keep(to, sizeof settings.carried[0], value) : -1;
    }
    if (!strcmp(name, "init"))
        return *value == '/' && strchr(value + 1, '/') ? keep(settings.init, sizeof settings.init, value) : -1;
    if (!strcmp(name, "job")) return read_number(value) > 0 ? keep(settings.job, sizeof settings.job, value) : -1;
    if (!strcmp(name, "limit")) return take_limit(value);
    if (!strcmp(name, "network")) {
        settings.network = 1;
        return strcmp(value, "engine") ? -1 : 0;
    }
    if (!strcmp(name, "patience")) {
        settings.patience = read_number(value) * 1000;
        return settings.patience < 0 ? -1 : 0;
    }
    if (!strcmp(name, "stdio")) {
        static const char *const words[] = {"pipes", "terminal", "task"};
        for (int i = 0; i < 3; i++)
            if (!strcmp(value, words[i])) {
                settings.stdio = (enum stdio)i;
                return 0;
            }
        return -1;
    }
    if (!strcmp(name, "address") && settings.address_count < ADDRESSES)
        return read_address(value, &settings.addresses[settings.address_count++]);
    return -1;
}

void read_settings(const char *path) {
    static const char *const needed[] = {"version",  "key",     "address", "meeting",
                                         "patience", "runtime", "stdio",   "init"};
    static char text[16384];
    unsigned seen = 0;
    if (!read_file(path, text, sizeof text)) die("cannot read", path, errno);
    for (char *line = text; *line;) {
        char *end = strchr(line, '\n'), *blank = strchr(line, ' ');
        if (!end || !blank || blank > end) die("no \"name value\" in a line of", path, 0);
        *end = *blank = 0;
        if (take(line, blank + 1)) {
            TEXT(message, 128);
            put(&message, "the value of ");
            put(&message, line);
            put(&message, " is not known to this version, in");
            die(message.start, path, 0);
        }
        for (unsigned i = 0; i < sizeof needed / sizeof *needed; i++)
            if (!strcmp(line, needed[i])) seen |= 1U << i;
        line = end + 1;
    }
    memset(text, 0, sizeof text);
    const char *slash = path;
    for (const char *at = path; *at; at++)
        if (*at == '/') slash = at;
    struct text bundle = {settings.bundle, 0, sizeof settings.bundle};
    put_bytes(&bundle, path, (size_t)(slash - path));
    for (unsigned i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!(seen >> i & 1)) {
            TEXT(message, 128);
            put(&message, "there is no ");
            put(&message, needed[i]);
            put(&message, " in");
            die(message.start, path, 0);
        }
}

void put_address(struct text *to, const struct sockaddr_storage *address) {
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    const uint8_t *bytes = address->ss_family == AF_INET6 ? v6->sin6_addr.s6_addr : (const uint8_t *)&v4->sin_addr;
    const uint8_t *port = (const uint8_t *)(address->ss_family == AF_INET6 ? &v6->sin6_port : &v4->sin_port);
    for (int i = 0; address->ss_family == AF_INET && i < 4; i++) {
        if (i) put(to, ".");
        put_number(to, bytes[i]);
    }
    for (int i = 0; address->ss_family == AF_INET6 && i < 16; i++) {
        if (i && i % 2 == 0) put(to, ":");
        put_bytes(to, &"0123456789abcdef"[bytes[i] >> 4], 1);
        put_bytes(to, &"0123456789abcdef"[bytes[i] & 15], 1);
    }
    put(to, " port ");
    put_number(to, (uint64_t)(port[0] << 8 | port[1]));
}
