/* For those who connect to ::1 on this host, pasta connects in the engine's namespace to ::1 (before 2024), or to the
 * link-local address of an interface that has no other one of IPv6. near.c can lead neither to the node, because the
 * kernel takes no packet for ::1 from an interface: what comes here is passed on to the container's 127.0.0.1 or IPv4
 * address. */
#include "login.h"

#define PIECE 32768

struct half { /* what one side has sent and the other hasn't taken */
    size_t begin, end;
    int is_over; /* it sends nothing more */
    uint8_t bytes[PIECE];
};
static struct pair {
    int fd[2], is_connecting; /* the client's, and ours to the container */
    struct half from[2];
} *pairs[PAIRS];
static int listeners[PUBLISHED], ports[PUBLISHED], count;

int loopback_publish(const char *first, const char *last) {
    long port = read_number(first), end = read_number(last);
    if (port < 1 || end > 65535) return -1;
    for (; port <= end && count < PUBLISHED; port++) {
        listeners[count] = -1;
        ports[count++] = (int)port;
    }
    return 0;
}

static void put_port(void *to, int port) {
    uint8_t bytes[2] = {(uint8_t)(port >> 8), (uint8_t)port};
    memcpy(to, bytes, 2);
}

void loopback_begin(void) {
    for (int i = 0; i < count; i++) {
        struct sockaddr_in6 at = {.sin6_family = AF_INET6};
        int yes = 1, fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        put_port(&at.sin6_port, ports[i]);
        if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (fd >= 0) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
        if (fd >= 0 && (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 128))) {
            close(fd); /* a namespace without IPv6 */
            fd = -1;
        }
        listeners[i] = fd;
    }
}

static void end(int i) {
    struct linger none = {1, 0}; /* a reset: half a connection isn't one that was closed */
    struct pair *p = pairs[i];
    for (int side = 0; side < 2; side++) {
        if (!p->from[0].is_over || !p->from[1].is_over)
            setsockopt(p->fd[side], SOL_SOCKET, SO_LINGER, &none, sizeof none);
        close(p->fd[side]);
    }
    munmap(p, sizeof *p);
    pairs[i] = NULL;
}

static void accept_pair(int which) {
    int free = 0, yes = 1;
    struct sockaddr_in at = {.sin_family = AF_INET};
    while (free < PAIRS && pairs[free]) free++;
    if (free == PAIRS) return;
    int client = accept4(listeners[which], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int ours = client < 0 ? -1 : socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    void *place = MAP_FAILED;
    if (ours >= 0) place = mmap(NULL, sizeof **pairs, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (place == MAP_FAILED) {
        if (client >= 0) close(client);
        if (ours >= 0) close(ours);
        return;
    }
    pairs[free] = place;
    *pairs[free]->fd = client;
    pairs[free]->fd[1] = ours;
    pairs[free]->is_connecting = 1;
    put_port(&at.sin_port, ports[which]);
    memcpy(&at.sin_addr, near_target(), 4);
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(ours, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(ours, (struct sockaddr *)&at, sizeof at) && errno != EINPROGRESS) end(free);
}

void loopback_watch(struct pollfd *set) {
    int has_room = 0;
    for (int i = 0; i < PAIRS; i++) {
        struct pair *p = pairs[i];
        has_room |= !p;
        for (int side = 0; side < 2; side++) {
            short events = 0;
            if (p && p->is_connecting) events = side ? POLLOUT : 0;
            else if (p && p->from[!side].begin < p->from[!side].end) events |= POLLOUT;
            if (p && !p->is_connecting && !p->from[side].is_over && p->from[side].begin == p->from[side].end)
                events |= POLLIN;
            set[PUBLISHED + 2 * i + side] = (struct pollfd){events ? p->fd[side] : -1, events, 0};
        }
    }
    for (int i = 0; i < PUBLISHED; i++)
        set[i] = (struct pollfd){i < count && has_room ? listeners[i] : -1, POLLIN, 0};
}

/* 0, or -1 when the connection broke. */
static int take(struct pair *p, int side) {
    struct half *h = &p->from[side];
    ssize_t more = recv(p->fd[side], h->bytes, PIECE, MSG_DONTWAIT);
    if (more < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
    h->begin = 0;
    h->end = (size_t)more;
    if (!more) {
        h->is_over = 1;
        shutdown(p->fd[!side], SHUT_WR);
    }
    return 0;
}

static int give(struct pair *p, int side) { /* to this side */
    struct half *h = &p->from[!side];
    ssize_t more = send(p->fd[side], h->bytes + h->begin, h->end - h->begin, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (more < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
    h->begin += (size_t)more;
    return 0;
}

static int serve(struct pair *p, const struct pollfd *set) {
    int error = 0;
    socklen_t size = sizeof error;
    if (p->is_connecting) {
        if (!set[1].revents) return 0;
        p->is_connecting = 0;
        return getsockopt(p->fd[1], SOL_SOCKET, SO_ERROR, &error, &size) || error ? -1 : 0;
    }
    for (int side = 0; side < 2; side++) {
        if (set[side].revents & (POLLIN | POLLHUP | POLLERR) && p->from[side].begin == p->from[side].end &&
            !p->from[side].is_over && take(p, side))
            return -1;
        if (p->from[!side].begin < p->from[!side].end && give(p, side)) return -1;
    }
    return p->from[0].is_over && p->from[1].is_over ? -1 : 0;
}

void loopback_serve(const struct pollfd *set) {
    for (int i = 0; i < PAIRS; i++)
        if (pairs[i] && serve(pairs[i], set + PUBLISHED + 2 * i)) end(i);
    for (int i = 0; i < count; i++)
        if (set[i].revents) accept_pair(i);
}
