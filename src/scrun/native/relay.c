/* Handing a stream on: scrun-node relay reads a stream, writes it to its standard output and to other nodes.
 * docs/protocol.md says what is said on descriptor 3, login's connection. */
#include "node.h"

#ifndef RELAY_RING
#define RELAY_RING (4 << 20) /* bytes between the fastest and the slowest of those that are fed */
#endif
#ifndef RELAY_STALL
#define RELAY_STALL 60000 /* milliseconds after which a node that takes nothing is dropped */
#endif
#define LOGIN 3
#define CHILDREN 8
#define STRANGERS 32
#define PATIENCE 10000 /* milliseconds, for a handshake and for the children to come */

struct outlet {
    int fd;
    uint64_t at; /* position in the stream */
    long moved;  /* when it last took something */
};
static struct outlet outlets[1 + CHILDREN]; /* the first is standard output */
static int count = 1;

struct stranger {
    int fd; /* -1: free */
    long until;
    size_t length;
    uint8_t said[96], ours[32];
};
static struct stranger strangers[STRANGERS];

/* ---- the children: the other side of handshake.c ---- */

static void drop(struct stranger *s) {
    close(s->fd);
    s->fd = -1;
}

/* Reads what has come; a stranger that has proved that it knows the key becomes a child. */
static void hear(struct stranger *s) {
    static const uint8_t magic[8] = {'s', 'c', 'r', 'u', 'n', 0, 0, 1};
    uint8_t answer[64], mac[32];
    const struct proof about = {FOR_AGENT, s->said + 8, s->said + 24, s->ours};
    size_t wanted = s->length < 56 ? 56 : 96;
    ssize_t more = recv(s->fd, s->said + s->length, wanted - s->length, 0);
    if (more < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (more <= 0) {
        drop(s);
        return;
    }
    s->length += (size_t)more;
    if (s->length == 56) {
        if (memcmp(s->said, magic, 8) || getrandom(s->ours, 32, 0) != 32) {
            drop(s);
            return;
        }
        memcpy(answer, s->ours, 32);
        prove(&about, 'L', NULL, 0, answer + 32);
        if (send(s->fd, answer, 64, MSG_NOSIGNAL) != 64) drop(s); /* it always fits into the socket's buffer */
        return;
    }
    if (s->length < 96) return;
    prove(&about, 'N', s->said + 56, 8, mac);
    memset(answer, 0, 8);
    prove(&about, 'R', answer, 8, answer + 8);
    if (!same_bytes(mac, s->said + 64, 32) || send(s->fd, answer, 40, MSG_NOSIGNAL) != 40) {
        drop(s);
        return;
    }
    outlets[count++].fd = s->fd;
    s->fd = -1;
}

static void welcome(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), on = 1;
    struct stranger *oldest = strangers;
    if (fd < 0) return;
    for (struct stranger *s = strangers; s < strangers + STRANGERS; s++)
        if (oldest->fd >= 0 && (s->fd < 0 || s->until < oldest->until)) oldest = s;
    if (oldest->fd >= 0) drop(oldest);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    *oldest = (struct stranger){.fd = fd, .until = milliseconds() + PATIENCE};
}

/* Wait until so many children have come, but not for ever: who is late is fed by somebody else. */
static void gather(int listener, int children) {
    long until = milliseconds() + PATIENCE;
    while (count < 1 + children) {
        struct pollfd set[1 + STRANGERS] = {{listener, POLLIN, 0}};
        long now = milliseconds();
        if (now >= until) break;
        for (int i = 0; i < STRANGERS; i++) {
            if (strangers[i].fd >= 0 && strangers[i].until <= now) drop(&strangers[i]);
            set[1 + i] = (struct pollfd){strangers[i].fd, POLLIN, 0};
        }
        if (poll(set, 1 + STRANGERS, 1000) <= 0) continue;
        for (int i = 0; i < STRANGERS && count < 1 + children; i++)
            if (set[1 + i].revents && strangers[i].fd == set[1 + i].fd) hear(&strangers[i]);
        if (set[0].revents) welcome(listener);
    }
    for (int i = 0; i < STRANGERS; i++)
        if (strangers[i].fd >= 0) drop(&strangers[i]);
    close(listener);
}

/* ---- the stream ---- */

static uint8_t *ring;

static void leave(struct outlet *o) {
    close(o->fd);
    *o = outlets[--count];
}

/* Writes what is there for an outlet; 0 if it has gone. */
static int pour(struct outlet *o, uint64_t head) {
    while (o->at < head) {
        uint64_t place = o->at % RELAY_RING, size = head - o->at;
        if (size > RELAY_RING - place) size = RELAY_RING - place;
        ssize_t more = write(o->fd, ring + place, (size_t)size);
        if (more < 0 && errno == EINTR) continue;
        if (more < 0) return errno == EAGAIN;
        o->at += (uint64_t)more;
        o->moved = milliseconds();
    }
    return 1;
}

/* 0 when the stream has ended, else errno. */
static int pump(int from) {
    uint64_t head = 0;
    int ended = 0, error = 0;
    for (int i = 0; i < count; i++) fcntl(outlets[i].fd, F_SETFL, (long)O_NONBLOCK);
    while (count) {
        struct pollfd set[2 + CHILDREN];
        uint64_t tail = head;
        for (int i = 0; i < count; i++) {
            if (outlets[i].at == head) outlets[i].moved = milliseconds();
            if (outlets[i].at < tail) tail = outlets[i].at;
            set[1 + i] = (struct pollfd){outlets[i].fd, (short)(outlets[i].at < head ? POLLOUT : 0), 0};
        }
        if (ended && tail == head) break;
        int is_full = head - tail == RELAY_RING, fed = count;
        set[0] = (struct pollfd){ended || is_full ? -1 : from, POLLIN, 0};
        poll(set, (nfds_t)(1 + fed), 1000);
        if (set[0].revents) {
            uint64_t place = head % RELAY_RING, size = RELAY_RING - (head - tail);
            if (size > RELAY_RING - place) size = RELAY_RING - place;
            ssize_t more = recv(from, ring + place, (size_t)size, 0);
            if (more > 0) head += (uint64_t)more;
            if (more < 0 && errno != EAGAIN && errno != EINTR) error = errno;
            if (more == 0 || error) ended = 1;
        }
        for (int i = fed - 1; i >= 0; i--) {
            struct outlet *o = &outlets[i];
            /* Who holds the others up is left to login. A tar that is slow is this node's own. */
            int is_waited_for = (is_full || ended) && o->at == tail && tail < head && o->fd != 1;
            int is_stalled = is_waited_for && milliseconds() - o->moved > RELAY_STALL;
            if (is_stalled || (set[1 + i].revents & (POLLERR | POLLHUP | POLLNVAL)) || !pour(o, head)) leave(o);
        }
    }
    return error;
}

/* "take CHILDREN ADDRESS PORT", or "take CHILDREN -" if the stream comes from login itself. */
static int read_order(char *line, size_t size) {
    for (size_t length = 0; length < size - 1; length++) {
        struct pollfd set = {LOGIN, POLLIN, 0};
        if (poll(&set, 1, 60000) <= 0 || recv(LOGIN, line + length, 1, 0) != 1) return -1;
        if (line[length] != '\n') continue;
        line[length] = 0;
        return 0;
    }
    return -1;
}

static int listen_anywhere(long *port) {
    struct sockaddr_in6 any = {.sin6_family = AF_INET6};
    struct sockaddr_in any4 = {.sin_family = AF_INET};
    uint8_t bytes[2];
    socklen_t size = sizeof any;
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), off = 0;
    if (fd >= 0) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any)) {
        if (fd >= 0) close(fd);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *)&any4, sizeof any4)) return -1;
    }
    if (listen(fd, STRANGERS) || getsockname(fd, (struct sockaddr *)&any, &size)) return -1;
    memcpy(bytes, (uint8_t *)&any + 2, 2); /* at the same place in both kinds of address */
    *port = bytes[0] << 8 | bytes[1];
    return fd;
}

static struct sockaddr_storage parent;
static const struct sockaddr_storage *its_parent(int k) {
    (void)k;
    return &parent;
}

int relay(void) {
    char key[66] = "", order[128];
    size_t length = 0;
    long port = 0;
    while (length < sizeof key && key[length ? length - 1 : 0] != '\n') {
        ssize_t more = read(0, key + length, sizeof key - length);
        if (more <= 0) break;
        length += (size_t)more;
    }
    if (length != 65 || key[64] != '\n') die("the key on standard input is not one", NULL, 0);
    key[64] = 0;
    if (read_hex(key, settings.key, sizeof settings.key)) die("the key on standard input is not one", NULL, 0);
    memset(key, 0, sizeof key);
    for (int i = 0; i < STRANGERS; i++) strangers[i].fd = -1;
    ring = mmap(NULL, RELAY_RING, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int listener = listen_anywhere(&port);
    if (listener < 0 || ring == MAP_FAILED) die("no port to listen on", NULL, errno);
    TEXT(said, 64);
    put(&said, "relay ");
    put_number(&said, (uint64_t)port);
    put(&said, "\n");
    if (send(LOGIN, said.start, said.length, MSG_NOSIGNAL) != (ssize_t)said.length) die("login", "has gone", errno);
    if (read_order(order, sizeof order) || strncmp(order, "take ", 5)) die("login's order", "didn't come", errno);
    char *rest = strchr(order + 5, ' ');
    if (!rest) die("login's order", order, 0);
    *rest++ = 0;
    long children = read_number(order + 5);
    if (children < 0 || children > CHILDREN) die("login's order", order, 0);
    int from = LOGIN;
    if (strcmp(rest, "-")) {
        uint8_t name[16];
        uint64_t arrived;
        int which;
        if (read_address(rest, &parent) || getrandom(name, sizeof name, 0) != sizeof name) die("an address", rest, 0);
        from = connect_any(its_parent, 1, FOR_AGENT, name, 0, &arrived, &which);
        if (from < 0) die("can't connect to", rest, errno);
    }
    outlets[0].fd = 1;
    gather(listener, (int)children);
    for (int i = 0; i < count; i++) outlets[i].moved = milliseconds();
    int error = pump(from);
    if (error) die("the stream", "broke", error);
    return 0;
}
