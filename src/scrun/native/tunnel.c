/* The connection between the two ends of a container's network: frames, each with its length (3 bytes) and channel (1)
 * before it. Nothing is kept over a break: Ethernet may lose a frame, and who speaks TCP in it sends it again. */
#include "network.h"

#define RING (1 << 20)
#define HEADER 4

static int ring_begin(struct ring *r) {
    r->memory = memfd_create("scrun-network", MFD_CLOEXEC);
    uint8_t *place = mmap(NULL, 2 * RING, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (r->memory < 0 || ftruncate(r->memory, RING) || place == MAP_FAILED) return errno;
    for (int i = 0; i < 2; i++)
        if (mmap(place + i * RING, RING, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, r->memory, 0) == MAP_FAILED)
            return errno;
    r->bytes = place;
    r->begin = r->end = 0;
    return 0;
}

int tunnel_begin(struct tunnel *t) {
    t->connection = -1;
    int error = ring_begin(&t->out);
    return error ? error : ring_begin(&t->in);
}

void tunnel_connect(struct tunnel *t, int connection) {
    tunnel_disconnect(t);
    t->connection = connection;
}

void tunnel_disconnect(struct tunnel *t) {
    if (t->connection >= 0) close(t->connection);
    t->connection = -1;
    t->out.begin = t->out.end;
    t->in.begin = t->in.end;
}

int tunnel_has_room(const struct tunnel *t) { return t->out.end - t->out.begin + HEADER + FRAME <= RING; }
int tunnel_is_waiting(const struct tunnel *t) { return t->connection >= 0 && t->out.begin < t->out.end; }

uint8_t *tunnel_place(struct tunnel *t) { return t->out.bytes + t->out.end % RING + HEADER; }

void tunnel_put(struct tunnel *t, enum channel channel, size_t length) {
    uint8_t *header = t->out.bytes + t->out.end % RING;
    if (t->connection < 0) return;
    put32(header, (uint32_t)(length << 8 | (channel & 255)));
    t->out.end += HEADER + length;
    t->out.dirty = 1;
}

void tunnel_say(struct tunnel *t, enum channel channel, const void *bytes, size_t length) {
    if (!tunnel_has_room(t) || length > FRAME) return;
    memcpy(tunnel_place(t), bytes, length);
    tunnel_put(t, channel, length);
}

int tunnel_send(struct tunnel *t) {
    while (tunnel_is_waiting(t)) {
        ssize_t more =
            send(t->connection, t->out.bytes + t->out.begin % RING, (size_t)(t->out.end - t->out.begin), MSG_NOSIGNAL);
        if (more > 0)
            t->out.begin += (uint64_t)more;
        else if (errno != EINTR)
            return errno == EAGAIN ? 0 : -1;
    }
    return 0;
}

static int fill(struct tunnel *t) {
    size_t room = (size_t)(RING - (t->in.end - t->in.begin));
    ssize_t more = recv(t->connection, t->in.bytes + t->in.end % RING, room, MSG_DONTWAIT);
    if (more < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (!more) {
        errno = ECONNRESET;
        return -1;
    }
    t->in.end += (uint64_t)more;
    t->in.dirty = 1;
    return 0;
}

static int next_frame(struct tunnel *t, int *channel, uint8_t **bytes, size_t *length) {
    uint64_t there = t->in.end - t->in.begin;
    uint8_t *header = t->in.bytes + t->in.begin % RING;
    if (there < HEADER) return 0;
    uint32_t word = get32(header);
    if (word >> 8 > FRAME) return -1;
    if (there < HEADER + (word >> 8)) return 0;
    *channel = (int)(word & 255);
    *bytes = header + HEADER;
    *length = word >> 8;
    t->in.begin += HEADER + *length;
    return 1;
}

int tunnel_receive(struct tunnel *t, void (*take)(int channel, const uint8_t *bytes, size_t length)) {
    int channel, got = 0;
    uint8_t *bytes;
    size_t length;
    if (fill(t)) return -1;
    while (t->connection >= 0 && (got = next_frame(t, &channel, &bytes, &length)) > 0) take(channel, bytes, length);
    return got < 0 ? -1 : 0;
}

int tunnel_is_dirty(const struct tunnel *t) { return t->out.dirty || t->in.dirty; }

void tunnel_release(struct tunnel *t) {
    struct ring *rings[] = {&t->out, &t->in};
    for (int i = 0; i < 2; i++) {
        struct ring *r = rings[i];
        if (r->begin != r->end) continue;
        fallocate(r->memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, RING);
        r->dirty = 0;
    }
}
