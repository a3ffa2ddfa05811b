/* The connection, and the frames: what has been sent is kept until login has acknowledged it, and sent again over a
 * new connection if the old one broke. */
#include "node.h"

#define RING (2 << 20) /* ROOM for DATA; the rest is for frames that nothing holds back, which are few and short */
#define ROOM (1 << 20)
#define HEADER 9
#define ACKNOWLEDGE 65536

/* Positions in the stream of our frames, since the agent began: acknowledged <= sent <= written. */
static uint64_t acknowledged, sent, written;
static uint8_t *ring; /* mapped twice in a row, so that each frame lies in one piece */
static int ring_memory, dirty;

static uint8_t input[HEADER + PAYLOAD + 65536];
static size_t input_length;
static uint64_t received, told; /* positions in the stream of login's frames */

static int connection = -1, ended;
static long broken_since, next_try, delay;
static uint8_t name[16];

static int known; /* the address by which login was reached last */

const struct sockaddr_storage *link_address(int k) { return &settings.addresses[(known + k) % settings.address_count]; }

static int connect_login(void) {
    uint64_t arrived = 0;
    int which, fd = connect_any(link_address, settings.address_count, FOR_AGENT, name, received, &arrived, &which);
    if (fd < 0) return errno;
    connection = fd;
    known = (known + which) % settings.address_count;
    if (arrived < acknowledged || arrived > sent) {
        link_break(); /* this isn't kept, or never was sent */
        return EPROTO;
    }
    acknowledged = sent = arrived;
    told = received;
    input_length = 0;
    return 0;
}

const uint8_t *link_name(void) { return name; }

int link_begin(void) {
    static const char what[] = "cannot keep what the login host hasn't got";
    ring_memory = memfd_create("scrun-frames", MFD_CLOEXEC);
    uint8_t *place = mmap(NULL, 2 * RING, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ring_memory < 0 || ftruncate(ring_memory, RING) || place == MAP_FAILED) die(what, NULL, errno);
    for (int i = 0; i < 2; i++)
        if (mmap(place + i * RING, RING, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, ring_memory, 0) == MAP_FAILED)
            die(what, NULL, errno);
    ring = place;
    if (getrandom(name, sizeof name, 0) != (ssize_t)sizeof name) die("the node has no random numbers", NULL, EAGAIN);
    return connect_login();
}

int link_descriptor(void) { return connection; }
int link_wants_to_send(void) { return connection >= 0 && sent < written; }
int link_ended(void) { return ended; }

size_t link_room(void) {
    uint64_t kept = written - acknowledged + HEADER;
    return kept < ROOM ? (size_t)(ROOM - kept) : 0;
}

void link_break(void) { ended = 1; }

#define REFUSALS 3 /* in a row: nobody listens there any more, so the anchor is dead */
static int refusals;

static void lose(void) {
    close(connection);
    connection = -1;
    broken_since = milliseconds();
    delay = 20;
    refusals = 0;
    next_try = broken_since + delay;
}

int link_wait(void) {
    if (connection >= 0) return -1;
    long left = next_try - milliseconds();
    return left > 0 ? (int)left : 0;
}

int link_is_given_up(void) { return connection < 0 && milliseconds() - broken_since >= settings.patience; }

void link_try(void) {
    if (connection >= 0 || ended || milliseconds() < next_try) return;
    int error = connect_login();
    if (!error) return;
    refusals = error == ECONNREFUSED ? refusals + 1 : 0;
    if (refusals == REFUSALS) ended = 1;
    delay = delay * 2 > 5000 ? 5000 : delay * 2;
    next_try = milliseconds() + delay;
}

void link_flush(void) {
    while (link_wants_to_send()) {
        ssize_t more = send(connection, ring + sent % RING, (size_t)(written - sent), MSG_NOSIGNAL);
        if (more > 0)
            sent += (uint64_t)more;
        else if (errno != EINTR) {
            if (errno != EAGAIN) lose();
            return;
        }
    }
}

/* ---- what is sent ---- */

uint8_t *frame_begin(void) {
    if (written - acknowledged + HEADER + PAYLOAD > RING) { /* login acknowledges nothing */
        link_break();
        acknowledged = sent = written;
    }
    return ring + written % RING + HEADER;
}

void frame_end(enum message type, uint32_t stream, size_t length) {
    uint8_t *header = ring + written % RING;
    put32(header, (uint32_t)length);
    header[4] = (uint8_t)type;
    put32(header + 5, stream);
    written += HEADER + length;
    dirty |= type == DATA;
}

void frame(enum message type, uint32_t stream, const void *payload, size_t length) {
    uint8_t *to = frame_begin();
    if (length > PAYLOAD) length = PAYLOAD;
    if (length) memcpy(to, payload, length);
    frame_end(type, stream, length);
}

void frame_number(enum message type, uint32_t stream, uint32_t number) {
    uint8_t bytes[4];
    put32(bytes, number);
    frame(type, stream, bytes, 4);
}

void frame_answer(uint32_t process, uint32_t request, int error, const char *text) {
    TEXT(payload, 512);
    put_bytes(&payload, "12345678", 8);
    put32((uint8_t *)payload.start, request);
    put32((uint8_t *)payload.start + 4, (uint32_t)error);
    put(&payload, text);
    frame(ANSWER, process * 4, payload.start, payload.length);
}

void frame_failed(uint32_t process, char where, int error, const char *text, size_t length) {
    uint8_t *to = frame_begin();
    if (length > 4096) length = 4096;
    to[0] = (uint8_t)where;
    put32(to + 1, (uint32_t)error);
    memcpy(to + 5, text, length);
    frame_end(FAILED, process * 4, 5 + length);
}

/* The pages of the ring that hold nothing: what a burst of output has needed is given back when it is over. */
void link_release(void) {
    if (!dirty || sent < written) return;
    uint64_t from = (written + 4095) / 4096 * 4096, to = (acknowledged + RING) / 4096 * 4096;
    for (; from < to; ) {
        uint64_t at = from % RING, size = to - from < RING - at ? to - from : RING - at;
        fallocate(ring_memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)size);
        from += size;
    }
    dirty = 0;
}

int link_is_dirty(void) { return dirty; }

/* ---- what comes ---- */

enum about { OF_NOTHING, OF_FIRST, OF_PROCESS, OF_OTHERS, OF_INPUT, OF_OUTPUT };
static const struct rule {
    uint8_t type, about;
    uint32_t least, most;
} rules[] = {
    {START, OF_FIRST, 4, 4},      {PART, OF_PROCESS, 1, PAYLOAD}, {EXEC, OF_OTHERS, 5, 5},    {RUN, OF_OTHERS, 0, 0},
    {DATA, OF_INPUT, 1, PAYLOAD}, {END, OF_INPUT, 0, 0},         {CREDIT, OF_OUTPUT, 4, 4},  {CLOSED, OF_OUTPUT, 0, 0},
    {SIGNAL, OF_PROCESS, 9, 9},   {RESIZE, OF_PROCESS, 4, 4},    {STOP, OF_FIRST, 4, 4},     {CONTINUE, OF_FIRST, 4, 4},
    {ACK, OF_NOTHING, 8, 8},      {BYE, OF_NOTHING, 0, 0},
};

static int is_allowed(uint8_t type, uint32_t stream, uint32_t length) {
    uint32_t process = stream / 4, i = stream % 4;
    if (process >= PROCESSES) return 0;
    for (const struct rule *r = rules; r < rules + sizeof rules / sizeof *rules; r++) {
        if (r->type != type) continue;
        if (length < r->least || length > r->most) return 0;
        if (r->about == OF_OUTPUT) return i == 1 || i == 2;
        if (r->about == OF_OTHERS) return i == 0 && process > 0;
        if (r->about <= OF_FIRST) return stream == 0;
        return i == 0;
    }
    return 0;
}

static void take_frames(void) {
    size_t done = 0;
    while (!ended && input_length - done >= HEADER) {
        const uint8_t *header = input + done;
        uint32_t length = get32(header), stream = get32(header + 5);
        if (length > PAYLOAD || !is_allowed(header[4], stream, length)) {
            link_break();
            return;
        }
        if (input_length - done < HEADER + length) break;
        done += HEADER + length;
        received += HEADER + length;
        if (header[4] == ACK) {
            uint64_t position = get64(header + HEADER);
            if (position > sent) {
                link_break();
                return;
            }
            if (position > acknowledged) acknowledged = position; /* not one that is sent again */
        } else {
            take_message((enum message)header[4], stream, header + HEADER, length);
        }
    }
    memmove(input, input + done, input_length - done);
    input_length -= done;
}

void link_receive(void) {
    ssize_t more = recv(connection, input + input_length, sizeof input - input_length, 0);
    if (more < 0) {
        if (errno != EAGAIN && errno != EINTR) lose();
        return;
    }
    if (more == 0) {
        link_break(); /* closed in good order: login's process is gone */
        return;
    }
    input_length += (size_t)more;
    take_frames();
    if (received - told >= ACKNOWLEDGE) {
        uint8_t position[8];
        put64(position, received);
        frame(ACK, 0, position, 8);
        told = received;
    }
}
