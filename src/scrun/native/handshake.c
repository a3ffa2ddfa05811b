/* Making the connection: TCP to one of login's addresses, and each side's proof that it has the key. */
#include "node.h"

#ifndef HANDSHAKE_TIME /* milliseconds; a test has less patience */
#define HANDSHAKE_TIME 10000
#endif
#define CONNECT_TIME 5000

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

/* A connected socket, or -1 with errno; `arrived` is how many bytes of our frames login has. */
int connect_to(const struct sockaddr_storage *address, enum purpose purpose, const uint8_t name[16], uint64_t received,
               uint64_t *arrived) {
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error = 0;
    if (fd < 0) return -1;
    socklen_t size = address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    socklen_t of_error = sizeof error;
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 15);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 30000);
    if (connect(fd, (const struct sockaddr *)address, size)) {
        error = errno == EINPROGRESS ? wait_for(fd, POLLOUT, milliseconds() + CONNECT_TIME) : errno;
        if (!error) getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &of_error);
    }
    if (!error) error = shake_hands(fd, purpose, name, received, arrived);
    if (!error) return fd;
    close(fd);
    errno = error;
    return -1;
}
