/* What there is in a network namespace, as text: a line for each link, address and route. Numbers of addresses are in
 * hex digits, so that each end reads them with a few lines.
 *
 *   link NUMBER NAME MAC MTU ipv6|no-ipv6
 *   address NUMBER ADDRESS PREFIX
 *   route NUMBER ADDRESS PREFIX GATEWAY|- METRIC SOURCE|- direct|-
 *   near NUMBER
 *   names
 */
#include "network.h"

void network_clear(struct network *n) {
    memset(n, 0, sizeof *n);
    n->near = -1;
}

int network_link_named(const struct network *n, const char *name) {
    for (int i = 0; i < LINKS; i++)
        if (*n->links[i].name && !strcmp(n->links[i].name, name)) return i;
    return -1;
}

static void put_hex(struct text *to, const uint8_t *from, int size) {
    for (int i = 0; i < 2 * size; i++) put_bytes(to, &"0123456789abcdef"[from[i / 2] >> (i % 2 ? 0 : 4) & 15], 1);
}

static void put_word(struct text *to, const char *word, int number) {
    put(to, word);
    put(to, " ");
    put_number(to, (uint64_t)number);
}

static void write_route(const struct network_route *r, struct text *to) {
    put_word(to, "route", r->link);
    put(to, " ");
    put_hex(to, r->to, r->size);
    put_word(to, "", r->prefix);
    put(to, " ");
    if (r->has_gateway) put_hex(to, r->gateway, r->size);
    put(to, r->has_gateway ? " " : "- ");
    put_number(to, r->metric);
    put(to, " ");
    if (r->has_source) put_hex(to, r->source, r->size);
    put(to, r->has_source ? " " : "- ");
    put(to, r->on_link ? "direct\n" : "-\n");
}

void network_write(const struct network *n, struct text *to) {
    for (int i = 0; i < LINKS; i++) {
        const struct network_link *l = &n->links[i];
        if (!*l->name) continue;
        put_word(to, "link", i);
        put(to, " ");
        put(to, l->name);
        put(to, " ");
        put_hex(to, l->mac, 6);
        put_word(to, "", (int)l->mtu);
        put(to, l->without_ipv6 ? " no-ipv6\n" : " ipv6\n");
    }
    for (const struct network_address *a = n->addresses; a < n->addresses + n->address_count; a++) {
        put_word(to, "address", a->link);
        put(to, " ");
        put_hex(to, a->bytes, a->size);
        put_word(to, "", a->prefix);
        put(to, "\n");
    }
    for (const struct network_route *r = n->routes; r < n->routes + n->route_count; r++) write_route(r, to);
    if (n->near >= 0) {
        put_word(to, "near", n->near);
        put(to, "\n");
    }
    if (n->name_server) put(to, "names\n");
}

/* ---- reading ---- */

#define WORDS 9

static int split(char *line, char **words) {
    int count = 0;
    while (*line) {
        if (count == WORDS) return -1;
        words[count++] = line;
        while (*line && *line != ' ') line++;
        if (*line) *line++ = 0;
    }
    return count;
}

static int within(const char *word, long most) {
    long number = read_number(word);
    return number >= 0 && number <= most ? (int)number : -1;
}

/* The bytes of an address, of either family; 0 if it is none. */
static int read_bytes(const char *word, uint8_t *to) {
    if (!read_hex(word, to, 4)) return 4;
    return read_hex(word, to, 16) ? 0 : 16;
}

static int is_name(const char *word) {
    if (!*word || strlen(word) >= IFNAMSIZ || *word == '.') return 0;
    for (; *word; word++)
        if (*word <= ' ' || *word == '/' || *word == ':' || *word == '%' || *word > '~') return 0;
    return 1;
}

static int read_link(struct network *n, char **w, int count) {
    int number = count == 6 ? within(w[1], LINKS - 1) : -1;
    if (number < 0 || !is_name(w[2]) || *n->links[number].name || network_link_named(n, w[2]) >= 0) return -1;
    struct network_link *l = &n->links[number];
    int mtu = within(w[4], 1 << 20);
    if (read_hex(w[3], l->mac, 6) || mtu < 0) return -1;
    memcpy(l->name, w[2], strlen(w[2]) + 1);
    l->mtu = (uint32_t)mtu;
    l->without_ipv6 = !strcmp(w[5], "no-ipv6");
    return 0;
}

static int known_link(const struct network *n, const char *word) {
    int number = within(word, LINKS - 1);
    return number >= 0 && *n->links[number].name ? number : -1;
}

static int read_address_line(struct network *n, char **w, int count) {
    if (count != 4 || n->address_count == INTERFACE_ADDRESSES) return -1;
    struct network_address *a = &n->addresses[n->address_count];
    a->link = known_link(n, w[1]);
    a->size = read_bytes(w[2], a->bytes);
    a->prefix = within(w[3], 8 * a->size);
    if (a->link < 0 || !a->size || a->prefix < 0) return -1;
    n->address_count++;
    return 0;
}

static int read_route(struct network *n, char **w, int count) {
    if (count != 8 || n->route_count == ROUTES) return -1;
    struct network_route *r = &n->routes[n->route_count];
    r->link = known_link(n, w[1]);
    r->size = read_bytes(w[2], r->to);
    r->prefix = within(w[3], 8 * r->size);
    r->has_gateway = strcmp(w[4], "-") != 0;
    r->has_source = strcmp(w[6], "-") != 0;
    r->on_link = !strcmp(w[7], "direct");
    r->metric = (uint32_t)within(w[5], 1000000000);
    if (r->link < 0 || !r->size || r->prefix < 0 || r->metric > 1000000000) return -1;
    if (r->has_gateway && read_bytes(w[4], r->gateway) != r->size) return -1;
    if (r->has_source && read_bytes(w[6], r->source) != r->size) return -1;
    n->route_count++;
    return 0;
}

int network_read(struct network *n, char *text) {
    network_clear(n);
    while (*text) {
        char *end = strchr(text, '\n'), *w[WORDS];
        if (!end) return -1;
        *end = 0;
        int count = split(text, w), bad = -1;
        if (count < 1) return -1;
        if (!strcmp(w[0], "link")) bad = read_link(n, w, count);
        if (!strcmp(w[0], "address")) bad = read_address_line(n, w, count);
        if (!strcmp(w[0], "route")) bad = read_route(n, w, count);
        if (!strcmp(w[0], "near") && count == 2) bad = (n->near = known_link(n, w[1])) < 0;
        if (!strcmp(w[0], "names") && count == 1) bad = !(n->name_server = 1);
        if (bad) return -1;
        text = end + 1;
    }
    return 0;
}
