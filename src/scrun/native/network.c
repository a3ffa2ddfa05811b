/* The container's network, where that is the engine's: a process beside the agent, which has the container's TAP
 * interfaces, and carries their frames to scrun-network on the login host over a connection of its own. */
#include "furnish.h"
#include "names.h"

#define SHORTEST (VNET_HEADER + 14) /* with an Ethernet header */
#define FRAMES_AT_ONCE 32
#define IDLE 1000        /* milliseconds, after which memory is given back */
#define FIRST_TIME 20000 /* milliseconds that the first connection and what login says may take */

/* ---- the agent's side ---- */

static int process_socket = -1, hook = -1; /* hook: it waits until the network is there */

int network_socket(void) { return process_socket; }

static void answer_hook(const char *text, size_t length) {
    if (hook < 0) return;
    send(hook, text, length, MSG_NOSIGNAL);
    close(hook);
    hook = -1;
}

static _Noreturn void serve(int agent_socket, int net, int user);

static int is_own_user_namespace(int fd) {
    struct stat own, other;
    return !stat("/proc/self/ns/user", &own) && !fstat(fd, &other) && own.st_dev == other.st_dev &&
           own.st_ino == other.st_ino;
}

/* By these links the containers that share this one's network find it: DIRECTORY/net, DIRECTORY/user. */
static const char *const kinds[] = {"net", "user"};
static char links[sizeof meeting_directory];

static void put_link(struct text *to, const char *directory, int kind) {
    put(to, directory);
    put(to, "/");
    put(to, kinds[kind]);
}

/* Where login expects them: beside the meeting directory, by a name without the container's. */
static void name_links(void) {
    struct text directory = {links, 0, sizeof links};
    const char *end = meeting_directory;
    for (const char *at = end; *at; at++)
        if (*at == '/') end = at;
    put_bytes(&directory, meeting_directory, (size_t)(end + 1 - meeting_directory));
    put(&directory, settings.meeting);
}

static int make_links(void) {
    name_links();
    /* Whoever has seen the one directory can have taken the name of the other. Login is told where they are. */
    if (mkdir(links, 0700)) memcpy(links, meeting_directory, sizeof links);
    for (int i = 0; i < 2; i++) {
        TEXT(to, 64);
        TEXT(path, 128);
        put(&to, "/proc/");
        put_number(&to, (uint64_t)agent.state.pid);
        put(&to, "/ns/");
        put(&to, kinds[i]);
        put_link(&path, links, i);
        if (symlink(to.start, path.start)) return -1;
    }
    return 0;
}

void network_stop(void) {
    if (process_socket >= 0) close(process_socket);
    process_socket = -1;
}

static void remove_links(const char *directory) {
    if (!is_own_directory(directory)) return;
    for (int i = 0; i < 2; i++) {
        TEXT(path, 128);
        put_link(&path, directory, i);
        unlink(path.start);
    }
    rmdir(directory);
}

void network_end(void) {
    if (!settings.network) return;
    if (!*links) name_links();
    remove_links(links);
    remove_links(meeting_directory);
}

void network_begin(int peer, int net, int user) {
    int ends[2];
    hook = peer;
    if (process_socket < 0 && make_links()) {
        TEXT(words, 160);
        put(&words, "ecannot make links in ");
        put(&words, links);
        put(&words, ": ");
        put_error(&words, errno);
        answer_hook(words.start, words.length);
        close(net);
        close(user);
        return;
    }
    if (is_own_user_namespace(user)) {
        close(user);
        user = -1;
    }
    pid_t child = -1;
    if (process_socket < 0 && !socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
        if (!(child = fork())) serve(ends[1], net, user);
        process_socket = ends[0];
        close(ends[1]);
    }
    if (child < 0) answer_hook("ethe node has no process left for the container's network", 58);
    close(net);
    if (user >= 0) close(user);
}

/* The process has said something, or has ended. */
void network_says(void) {
    char text[256];
    ssize_t length = recv(process_socket, text, sizeof text, MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (length > 0) {
        answer_hook(text, (size_t)length);
        return;
    }
    answer_hook("ethe process for the container's network was killed", 52);
    close(process_socket);
    process_socket = -1;
    static const char why[] = "the process for the container's network has ended, and so does the container";
    frame(NOTE, 0, why, sizeof why - 1);
    members_kill();
}

/* ---- the process ---- */

static struct tunnel tunnel;
static struct network now;
static int taps[LINKS], name_sockets[2] = {-1, -1}, agent_end, net_namespace, user_namespace, is_reported;
static long next_try, delay, began;

static void report(const char *wrong) {
    TEXT(words, 256);
    put(&words, *wrong ? "e" : "k");
    put(&words, wrong);
    if (!is_reported) send(agent_end, words.start, words.length, MSG_NOSIGNAL);
    is_reported = 1;
}

static void lose(void) {
    tunnel_disconnect(&tunnel);
    delay = 20;
    next_try = milliseconds() + delay;
}

static void try_to_connect(void) {
    uint64_t arrived;
    if (tunnel.connection >= 0 || milliseconds() < next_try) return;
    int which, fd = connect_any(link_address, settings.address_count, FOR_NETWORK, link_name(), 0, &arrived, &which);
    if (fd >= 0) {
        tunnel_connect(&tunnel, fd);
        return;
    }
    delay = delay * 2 > 5000 ? 5000 : delay * 2;
    next_try = milliseconds() + delay;
}

static void take_config(const uint8_t *bytes, size_t length) {
    static struct network next;
    static char text[NETWORK_TEXT];
    TEXT(wrong, 256);
    if (length < sizeof text) {
        memcpy(text, bytes, length);
        text[length] = 0;
    }
    if (length >= sizeof text || network_read(&next, text)) {
        report("login says of the network what this version doesn't know");
        lose();
        return;
    }
    for (int i = 0; i < LINKS; i++)
        if (taps[i] >= 0 && strcmp(now.links[i].name, next.links[i].name)) {
            close(taps[i]); /* the interface goes with it */
            taps[i] = -1;
        }
    furnish(&next, taps, name_sockets, user_namespace, net_namespace, &wrong);
    now = next;
    TEXT(answer, 256);
    put(&answer, wrong.length ? "e" : "k");
    put(&answer, wrong.length ? wrong.start : links);
    tunnel_say(&tunnel, CONFIGURED, answer.start, answer.length);
    report(wrong.start);
}

/* A small file of the bundle as it is by now: the bytes are its name there, NUL, and the content. It isn't the
 * container's change: so the bundle's marker, by whose time changes are told, gets a later one. */
static void take_file(const uint8_t *bytes, size_t length) {
    TEXT(path, 4096);
    TEXT(marker, 4096);
    const char *name = (const char *)bytes;
    size_t of_name = 0;
    while (of_name < length && bytes[of_name]) of_name++;
    if (of_name == length || strncmp(name, "mounts/", 7) || read_number(name + 7) < 0) return;
    put(&path, settings.bundle);
    put(&path, "/");
    put(&path, name);
    int fd = open(path.start, O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC);
    const uint8_t *content = bytes + of_name + 1;
    if (fd < 0 || write(fd, content, length - of_name - 1) != (ssize_t)(length - of_name - 1))
        report("cannot write a file of the container's again, such as its /etc/hosts");
    if (fd >= 0) close(fd);
    put(&marker, settings.bundle);
    put(&marker, "/marker");
    fd = open(marker.start, O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) close(fd);
}

static int is_tag(const uint8_t *type) { return !memcmp(type, "\x81\0", 2) || !memcmp(type, "\x88\xa8", 2); }

/* What comes from the engine's network may not be for the container's loopback: what comes by NEAR may. VLAN tags are
 * passed over, because the kernel takes off those of VLAN 0, however many there are. */
static int is_for_loopback(const uint8_t *packet, size_t length) {
    size_t type = VNET_HEADER + 12;
    while (type + 2 <= length && is_tag(packet + type)) type += 4;
    return type + 2 + 20 <= length && !memcmp(packet + type, "\x08\0", 2) && packet[type + 2 + 16] == 127;
}

static void take_frame(int channel, const uint8_t *bytes, size_t length) {
    int link = channel == NEAR ? now.near : channel;
    if (channel == CONFIG) {
        take_config(bytes, length);
    } else if (channel == NETWORK_FILE && !is_reported) {
        take_file(bytes, length);
    } else if (channel == NAMES) {
        names_answer(bytes, length);
    } else if (link >= 0 && link < LINKS && taps[link] >= 0 && length >= SHORTEST) {
        if (channel != NEAR && link == now.near && is_for_loopback(bytes, length)) return;
        if (write(taps[link], bytes, length) < 0) {} /* a frame that the kernel doesn't take is lost, as on a wire */
    }
}

static void read_tap(int link) {
    for (int k = 0; k < FRAMES_AT_ONCE && tunnel_has_room(&tunnel); k++) {
        uint8_t *place = tunnel_place(&tunnel);
        ssize_t length = read(taps[link], place, FRAME);
        if (length < 0 && errno != EAGAIN && errno != EINTR) { /* the container has removed the interface */
            close(taps[link]);
            taps[link] = -1;
        }
        if (length < SHORTEST) return;
        int near = link == now.near && !memcmp(place + VNET_HEADER, now.links[link].mac, 6);
        tunnel_put(&tunnel, near ? NEAR : (enum channel)link, (size_t)length);
    }
}

enum watched { AGENT, TUNNEL, TAPS, NAMES_AT = TAPS + LINKS, WATCHED = NAMES_AT + NAME_SOCKETS };

static void turn(void) {
    struct pollfd watched[WATCHED];
    int is_open = tunnel.connection >= 0 && tunnel_has_room(&tunnel);
    watched[AGENT] = (struct pollfd){agent_end, POLLIN, 0};
    short events = (short)(POLLIN | (tunnel_is_waiting(&tunnel) ? POLLOUT : 0));
    watched[TUNNEL] = (struct pollfd){tunnel.connection, events, 0};
    for (int i = 0; i < LINKS; i++) watched[TAPS + i] = (struct pollfd){is_open ? taps[i] : -1, POLLIN, 0};
    int wait = names_watch(watched + NAMES_AT, name_sockets, is_open);
    if (tunnel.connection < 0) {
        long left = next_try - milliseconds();
        if (wait < 0 || left < wait) wait = left < 0 ? 0 : (int)left;
    }
    if (tunnel_is_dirty(&tunnel) && (wait < 0 || wait > IDLE)) wait = IDLE;
    if (!is_reported && (wait < 0 || wait > IDLE)) wait = IDLE;
    int ready = poll(watched, WATCHED, wait);
    if (ready < 0) return;
    if (ready == 0) tunnel_release(&tunnel);
    if (watched[AGENT].revents) _exit(0);
    for (int i = 0; i < LINKS; i++)
        if (watched[TAPS + i].revents) read_tap(i);
    names_serve(watched + NAMES_AT, name_sockets, &tunnel);
    if (watched[TUNNEL].revents && tunnel_receive(&tunnel, take_frame)) lose();
    if (tunnel.connection >= 0 && tunnel_send(&tunnel)) lose();
    try_to_connect();
    if (!is_reported && milliseconds() - began > FIRST_TIME)
        report("login doesn't say what the container's network is (SCRUN_NET=node: the node's own)");
}

static _Noreturn void serve(int agent_socket, int net, int user) {
    const int kept[] = {agent_socket, net, user};
    prctl(PR_SET_PDEATHSIG, (long)SIGKILL);
    close_all_but(kept, 3);
    for (int i = 0; i < LINKS; i++) taps[i] = -1;
    agent_end = agent_socket;
    net_namespace = net;
    user_namespace = user;
    network_clear(&now);
    if (tunnel_begin(&tunnel)) report("the node has no memory left for the container's network");
    began = next_try = milliseconds();
    delay = 20;
    for (;;) turn();
}
