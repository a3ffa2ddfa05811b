/* Making the connection: TCP to one of login's addresses, and each side's proof that it has the key. An address that is
 * behind a firewall doesn't answer at all, so the others don't wait for it. */
#include "node.h"

#ifndef HANDSHAKE_TIME /* milliseconds; a test has less patience */
#define HANDSHAKE_TIME 10000
#endif
#ifndef CONNECT_TIME /* milliseconds; a test has more */
#define CONNECT_TIME 5000
#endif
#define STAGGER 250 /* milliseconds from one address to the next, as RFC 8305 has it */

static int wait_for(int fd, short event, long deadline) {
    long left = deadline - milliseconds();
    struct pollfd set = {fd, event, 0};
    int ready = left > 0 ? poll(&set, 1, (int)left) : 0;
    if (ready == 0) return ETIMEDOUT;
    return ready < 0 && errno != EINTR ? errno : 0;
}

static int exchange(int fd, uint8_t *bytes, size_t size, short event, long deadline) {
    for (size_t done = 0; done < size;) {
        int error = wait_for(fd, event, deadline);
        if (error) return error;
        ssize_t more = event == POLLOUT ? send(fd, bytes + done, size - done, MSG_NOSIGNAL)
                                        : recv(fd, bytes + done, size - done, 0);
        if (more == 0) return ECONNRESET;
        if (more < 0 && errno != EAGAIN && errno != EINTR) return errno;
        if (more > 0) done += (size_t)more;
    }
    return 0;
}

/* The letter of a connection for the network is a small one: no proof counts for both. */
void prove(const struct proof *p, char letter, const uint8_t *rest, size_t size, uint8_t mac[32]) {
    struct hmac h;
    if (p->purpose == FOR_NETWORK) letter = (char)(letter | 32);
    hmac_begin(&h, settings.key);
    sha256_add(&h.inner, &letter, 1);
    sha256_add(&h.inner, p->name, 16);
    sha256_add(&h.inner, p->nodes, 32);
    sha256_add(&h.inner, p->logins, 32);
    sha256_add(&h.inner, rest, size);
    hmac_end(&h, mac);
}

/* The order of the lines is that of the table in docs/protocol.md. */
static int shake_hands(int fd, enum purpose purpose, const uint8_t name[16], uint64_t received, uint64_t *arrived) {
    long deadline = milliseconds() + HANDSHAKE_TIME;
    uint8_t first[56] = {'s', 'c', 'r', 'u', 'n', 0, (uint8_t)purpose, 1}, second[64], third[40], fourth[40], mac[32];
    int error;
    memcpy(first + 8, name, 16);
    if (getrandom(first + 24, 32, 0) != 32) return EAGAIN;
    if ((error = exchange(fd, first, sizeof first, POLLOUT, deadline))) return error;
    if ((error = exchange(fd, second, sizeof second, POLLIN, deadline))) return error;
    struct proof p = {purpose, name, first + 24, second};
    prove(&p, 'L', NULL, 0, mac);
    if (!same_bytes(mac, second + 32, 32)) return EKEYREJECTED;
    put64(third, received);
    prove(&p, 'N', third, 8, third + 8);
    if ((error = exchange(fd, third, sizeof third, POLLOUT, deadline))) return error;
    if ((error = exchange(fd, fourth, sizeof fourth, POLLIN, deadline))) return error;
    prove(&p, 'R', fourth, 8, mac);
    if (!same_bytes(mac, fourth + 8, 32)) return EKEYREJECTED;
    *arrived = get64(fourth);
    return 0;
}

static void set(int fd, int level, int name, int value) { setsockopt(fd, level, name, &value, sizeof value); }

/* A socket that is about to be connected, or -1 with errno. */
static int begin(const struct sockaddr_storage *address) {
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    socklen_t size = address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 15);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 30000);
    if (!connect(fd, (const struct sockaddr *)address, size) || errno == EINPROGRESS) return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* How it has come out: the connection's error. */
static int outcome(int fd) {
    int error = 0;
    socklen_t size = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) ? errno : error;
}

/* Whoever uses this node may listen there, and keep a handshake waiting: it is for last, when no other is left. */
static int is_this_node(const struct sockaddr_storage *address) {
    static const uint8_t v4[4] = {127, 0, 0, 1}, v6[16] = {[15] = 1};
    if (address->ss_family == AF_INET) return !memcmp(&((const struct sockaddr_in *)address)->sin_addr, v4, sizeof v4);
    return !memcmp(&((const struct sockaddr_in6 *)address)->sin6_addr, v6, sizeof v6);
}

int connect_any(const struct sockaddr_storage *(*address)(int), int count, enum purpose purpose,
                const uint8_t name[16], uint64_t received, uint64_t *arrived, int *which) {
    struct pollfd waiting[ADDRESSES];
    long until[ADDRESSES], next = 0;
    int begun = 0, pending = 0, first_error = EDESTADDRREQ;
    for (;;) {
        long now = milliseconds(), wake = now + CONNECT_TIME;
        if (begun < count && (!pending || (now >= next && !is_this_node(address(begun))))) {
            waiting[begun] = (struct pollfd){begin(address(begun)), POLLOUT, 0};
            until[begun] = now + CONNECT_TIME;
            next = now + STAGGER;
            if (waiting[begun].fd >= 0)
                pending++;
            else if (!begun)
                first_error = errno;
            begun++;
            continue;
        }
        if (!pending) break;
        if (begun < count && now < next) wake = next;
        for (int i = 0; i < begun; i++)
            if (waiting[i].fd >= 0 && until[i] < wake) wake = until[i];
        poll(waiting, (nfds_t)begun, wake > now ? (int)(wake - now) : 0);
        now = milliseconds();
        for (int i = 0; i < begun; i++) {
            int fd = waiting[i].fd;
            if (fd < 0 || (!waiting[i].revents && now < until[i])) continue;
            int error = waiting[i].revents ? outcome(fd) : ETIMEDOUT;
            if (!error) error = shake_hands(fd, purpose, name, received, arrived);
            waiting[i].fd = -1;
            if (!error) {
                for (int other = 0; other < begun; other++)
                    if (waiting[other].fd >= 0) close(waiting[other].fd);
                *which = i;
                return fd;
            }
            close(fd);
            pending--;
            next = 0; /* so the following one needn't wait */
            if (!i) first_error = error; /* the others' tell little: at 127.0.0.1 the node itself refuses */
        }
    }
    errno = first_error;
    return -1;
}
