/* The container's questions for names at 127.0.0.11, where docker answers in its own namespace on login: they go there
 * over the tunnel, and the answers come back. A frame of NAMES has two bytes before the message: 0 for a datagram, or
 * the number of a stream from 1 on, and which of its generations. */
#include "names.h"

#define DATAGRAMS 256
#define MESSAGE 65535
#define HEADER 12        /* bytes of the shortest message */
#define PATIENCE 30000   /* milliseconds that a client of a stream has */

/* Who has asked by a datagram; the answer has the place in this list, and its generation, as its number. */
static struct asked {
    struct sockaddr_in from;
    uint8_t number[2], generation, is_waiting;
} asked[DATAGRAMS];
static uint8_t next_asked;

static struct stream {
    int fd; /* 0: none */
    uint8_t generation, is_waiting;
    long until;
    size_t length;
    uint8_t bytes[2 + MESSAGE];
} streams[NAME_STREAMS];

static int datagrams = -1;

static void close_stream(struct stream *s) {
    if (s->fd) close(s->fd);
    s->fd = 0;
    s->length = s->is_waiting = 0;
    s->generation++;
}

int names_watch(struct pollfd *set, const int sockets[2], int is_open) {
    int is_free = 0, wait = -1;
    for (int i = 0; i < NAME_STREAMS; i++) {
        struct stream *s = &streams[i];
        if (s->fd && s->until <= milliseconds()) close_stream(s);
        is_free |= !s->fd;
        set[2 + i] = (struct pollfd){s->fd && !s->is_waiting && is_open ? s->fd : -1, POLLIN, 0};
        long left = s->until - milliseconds();
        if (s->fd && (wait < 0 || left < wait)) wait = (int)left;
    }
    set[0] = (struct pollfd){is_open ? sockets[0] : -1, POLLIN, 0};
    set[1] = (struct pollfd){is_open && is_free ? sockets[1] : -1, POLLIN, 0};
    return wait;
}

static void take_datagram(int fd, struct tunnel *t) {
    if (!tunnel_has_room(t)) return;
    uint8_t *place = tunnel_place(t);
    struct asked *a = &asked[next_asked];
    socklen_t size = sizeof a->from;
    datagrams = fd;
    ssize_t length = recvfrom(fd, place + 2, MESSAGE, MSG_DONTWAIT, (struct sockaddr *)&a->from, &size);
    if (length < HEADER) return;
    place[0] = place[1] = 0;
    memcpy(a->number, place + 2, 2);
    place[2] = next_asked++;
    place[3] = ++a->generation;
    a->is_waiting = 1;
    tunnel_put(t, NAMES, 2 + (size_t)length);
}

static void take_stream(struct stream *s, struct tunnel *t) {
    size_t wanted = s->length < 2 ? 2 : 2 + (size_t)(s->bytes[0] << 8 | s->bytes[1]);
    ssize_t more = recv(s->fd, s->bytes + s->length, wanted - s->length, MSG_DONTWAIT);
    if (more < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (more <= 0) {
        close_stream(s);
        return;
    }
    s->length += (size_t)more;
    if (s->length < 2) return;
    wanted = 2 + (size_t)(s->bytes[0] << 8 | s->bytes[1]);
    if (s->length < wanted) return;
    s->length = 0;
    if (wanted < 2 + HEADER || !tunnel_has_room(t)) {
        close_stream(s);
        return;
    }
    uint8_t *place = tunnel_place(t);
    place[0] = (uint8_t)(1 + (s - streams));
    place[1] = s->generation;
    memcpy(place + 2, s->bytes + 2, wanted - 2);
    tunnel_put(t, NAMES, wanted);
    s->is_waiting = 1;
}

static void accept_stream(int fd) {
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    for (struct stream *s = streams; peer >= 0 && s < streams + NAME_STREAMS; s++) {
        if (s->fd) continue;
        s->fd = peer;
        s->until = milliseconds() + PATIENCE;
        return;
    }
    if (peer >= 0) close(peer);
}

void names_serve(const struct pollfd *set, const int sockets[2], struct tunnel *t) {
    if (set[0].revents) take_datagram(sockets[0], t);
    for (int i = 0; i < NAME_STREAMS; i++)
        if (set[2 + i].revents && streams[i].fd) take_stream(&streams[i], t);
    if (set[1].revents) accept_stream(sockets[1]);
}

static void answer_stream(struct stream *s, uint8_t generation, const uint8_t *message, size_t length) {
    uint8_t head[2] = {(uint8_t)(length >> 8), (uint8_t)length};
    struct iovec parts[2] = {{head, 2}, {(void *)message, length}};
    struct msghdr all = {.msg_iov = parts, .msg_iovlen = 2};
    if (!s->fd || !s->is_waiting || s->generation != generation) return;
    s->is_waiting = 0;
    if (sendmsg(s->fd, &all, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)(2 + length)) close_stream(s);
}

void names_answer(const uint8_t *bytes, size_t length) {
    if (length < 2 || bytes[0] > NAME_STREAMS) return;
    if (bytes[0] && length == 2) { /* there was no answer */
        if (streams[bytes[0] - 1].generation == bytes[1]) close_stream(&streams[bytes[0] - 1]);
        return;
    }
    if (length < 2 + HEADER) return;
    if (bytes[0]) {
        answer_stream(&streams[bytes[0] - 1], bytes[1], bytes + 2, length - 2);
        return;
    }
    struct asked *a = &asked[bytes[2]];
    if (!a->is_waiting || a->generation != bytes[3] || datagrams < 0) return;
    uint8_t *message = (uint8_t *)bytes + 2; /* of the tunnel's ring, which is ours */
    memcpy(message, a->number, 2);
    a->is_waiting = 0;
    sendto(datagrams, message, length - 2, MSG_DONTWAIT, (struct sockaddr *)&a->from, sizeof a->from);
}
