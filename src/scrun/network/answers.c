/* docker answers for names at 127.0.0.11 in the container's network namespace on this host. The container's questions
 * come over the tunnel; what is sent back has the same two bytes before it as the question (../native/names.c). */
#include "login.h"

#define MESSAGE 65535
#define PATIENCE 15000 /* milliseconds for an answer to a stream's question */

static int datagrams = -1;
static struct stream {
    int fd; /* 0: none */
    uint8_t generation;
    long until;
    size_t sent, length, came;
    uint8_t question[2 + MESSAGE], answer[2 + MESSAGE];
} streams[ANSWERS - 1];

static int open_socket(int kind) {
    struct sockaddr_in server = {.sin_family = AF_INET};
    memcpy(&server.sin_port, "\0\x35", 2);
    memcpy(&server.sin_addr, "\x7f\0\0\x0b", 4);
    int fd = socket(AF_INET, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

void answers_begin(void) {
    datagrams = open_socket(SOCK_DGRAM);
    if (datagrams < 0) give_up("cannot ask docker for names at 127.0.0.11", NULL, errno);
}

static void finish(struct stream *s, struct tunnel *t) {
    int number = (int)(s - streams);
    int is_whole = s->came >= 2 && s->came == 2U + (unsigned)(s->answer[0] << 8 | s->answer[1]);
    close(s->fd);
    s->fd = 0;
    if (!tunnel_has_room(t)) return;
    uint8_t *place = tunnel_place(t);
    place[0] = (uint8_t)(1 + number);
    place[1] = s->generation;
    if (is_whole) memcpy(place + 2, s->answer + 2, s->came - 2);
    tunnel_put(t, NAMES, is_whole ? s->came : 2);
}

int answers_watch(struct pollfd *set, int has_room) {
    int wait = -1;
    set[0] = (struct pollfd){has_room ? datagrams : -1, POLLIN, 0};
    for (int i = 0; i < ANSWERS - 1; i++) {
        struct stream *s = &streams[i];
        long left = s->until - milliseconds();
        set[1 + i] = (struct pollfd){s->fd ? s->fd : -1, (short)(s->sent < s->length ? POLLOUT : POLLIN), 0};
        if (s->fd && (wait < 0 || left < wait)) wait = left < 0 ? 0 : (int)left;
    }
    return wait;
}

static void serve_stream(struct stream *s, struct tunnel *t) {
    size_t wanted = s->came < 2 ? 2 : 2 + (size_t)(s->answer[0] << 8 | s->answer[1]);
    ssize_t more = s->sent < s->length
                       ? send(s->fd, s->question + s->sent, s->length - s->sent, MSG_NOSIGNAL | MSG_DONTWAIT)
                       : recv(s->fd, s->answer + s->came, wanted - s->came, MSG_DONTWAIT);
    if (more < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (more <= 0) {
        s->came = 0;
        finish(s, t);
    } else if (s->sent < s->length) {
        s->sent += (size_t)more;
    } else {
        s->came += (size_t)more;
        if (s->came > 2 && s->came == 2U + (unsigned)(s->answer[0] << 8 | s->answer[1])) finish(s, t);
    }
}

void answers_serve(const struct pollfd *set, struct tunnel *t) {
    for (int k = 0; set[0].revents && k < 32 && tunnel_has_room(t); k++) {
        uint8_t *place = tunnel_place(t);
        ssize_t length = recv(datagrams, place + 2, MESSAGE, MSG_DONTWAIT);
        if (length < 0) break;
        place[0] = place[1] = 0;
        tunnel_put(t, NAMES, 2 + (size_t)length);
    }
    for (int i = 0; i < ANSWERS - 1; i++) {
        struct stream *s = &streams[i];
        if (s->fd && s->until <= milliseconds()) {
            s->came = 0;
            finish(s, t);
        } else if (s->fd && set[1 + i].revents) {
            serve_stream(s, t);
        }
    }
}

void answers_ask(const uint8_t *bytes, size_t length, struct tunnel *t) {
    if (datagrams < 0 || length < 2 || length - 2 > MESSAGE || bytes[0] >= ANSWERS) return;
    if (!bytes[0]) {
        send(datagrams, bytes + 2, length - 2, MSG_NOSIGNAL | MSG_DONTWAIT);
        return;
    }
    struct stream *s = &streams[bytes[0] - 1];
    if (s->fd) close(s->fd); /* its client has gone */
    s->fd = open_socket(SOCK_STREAM);
    s->generation = bytes[1];
    s->until = milliseconds() + PATIENCE;
    s->sent = s->came = 0;
    s->length = length;
    put32(s->question, (uint32_t)(length - 2) << 16);
    memcpy(s->question + 2, bytes + 2, length - 2);
    if (s->fd > 0) return;
    s->fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* no server: so it is said at once */
    finish(s, t);
}
