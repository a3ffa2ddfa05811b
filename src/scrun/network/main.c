/* scrun-network: carries a container's frames between the engine's network namespace on the login host and the node.
 *
 *   scrun-network CONTROL NAMESPACE [again] [near] [names] [port FIRST LAST]...
 *
 * CONTROL is the anchor's socket (SOCK_SEQPACKET), NAMESPACE the engine's network namespace, both as numbers of
 * descriptors. again: the first message has what an earlier scrun-network told, which was killed. For near, names and
 * port see near.c, answers.c and loopback.c.
 *
 * Messages to the anchor: "n", and what the network is; "u", the node has it, and the path there of links to the
 * container's namespaces; "w", and why it hasn't; "b", the connection broke; "e", and why this program ends. The anchor
 * sends "f", and a small file of the bundle that has changed; "c", with a connection that the node has opened, and that
 * has proved to be its own. The program ends with the anchor, and gives the namespace back.
 */
#include "login.h"

#include <linux/capability.h>
#include <linux/nsfs.h>

#define SHORTEST (VNET_HEADER + 14)
#define FRAMES_AT_ONCE 32
#define IDLE 1000  /* milliseconds, after which memory is given back */
#define QUIET 200  /* milliseconds without a change, after which the engine has finished with an interface */

static struct tunnel tunnel;
static int control, changes = -1, has_names, has_near, owes_config;
static long look_at; /* when the namespace is looked at again; 0: when it changes */

static void say(char letter, const char *text, size_t length) {
    static char message[1 + NETWORK_TEXT];
    message[0] = letter;
    memcpy(message + 1, text, length);
    send(control, message, 1 + length, MSG_NOSIGNAL);
}

_Noreturn void give_up(const char *what, const char *which, int error) {
    TEXT(words, 512);
    put(&words, what);
    if (which) put(&words, " ");
    if (which) put(&words, which);
    if (error) put(&words, ": ");
    if (error) put_error(&words, error);
    say('e', words.start, words.length);
    restore();
    _exit(1);
}

static void enter(int namespace) {
    if (!setns(namespace, CLONE_NEWNET)) return;
    int error = errno, user = ioctl(namespace, NS_GET_USERNS, 0L);
    if (user < 0 || setns(user, CLONE_NEWUSER) || setns(namespace, CLONE_NEWNET))
        give_up("cannot enter the container's network namespace", NULL, error);
}

/* What the node sends is read with no more power than the namespace's interfaces, packets and ports need. */
static void drop_power(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    uint32_t needed = 1u << CAP_NET_ADMIN | 1u << CAP_NET_RAW | 1u << CAP_NET_BIND_SERVICE;
    const struct __user_cap_data_struct both[2] = {{needed, needed, 0}, {0, 0, 0}};
    prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L);
    if (syscall(SYS_capset, &header, both)) give_up("cannot give up the capabilities that aren't needed", NULL, errno);
}

static void take_earlier(void) {
    static char text[NETWORK_TEXT];
    ssize_t length = recv(control, text, sizeof text - 1, 0);
    if (length < 0 || network_read(&network, text)) give_up("what the network was is not known any more", NULL, 0);
    network.near = -1;
}

static char text_bytes[NETWORK_TEXT];

static struct text describe(void) {
    struct text text = {text_bytes, 0, sizeof text_bytes};
    *text_bytes = 0;
    network_write(&network, &text);
    return text;
}

/* A tunnel that is full takes it as soon as there is room, before anything else. */
static void tell_config(void) {
    if (!owes_config || !tunnel_has_room(&tunnel)) return;
    struct text text = describe();
    tunnel_say(&tunnel, CONFIG, text.start, text.length);
    owes_config = 0;
}

/* The anchor knows what the network is before the kernel gives it up: whoever comes after us can give it back. */
static void look_and_take_over(int is_first) {
    if (!look() && !is_first) return;
    struct text text = describe();
    say('n', text.start, text.length);
    take_over(has_near);
    if (has_near) near_begin();
    owes_config = 1;
}

static void broken(void) {
    tunnel_disconnect(&tunnel);
    say('b', "", 0);
}

/* What is told each connection before CONFIG, until the node has the network. */
#define FILES 8
#define MESSAGE 65536
static struct {
    size_t length; /* 0: none */
    uint8_t bytes[MESSAGE];
} files[FILES];

static void keep_file(const uint8_t *bytes, size_t length) {
    for (int i = 0; i < FILES; i++)
        if (!files[i].length) {
            memcpy(files[i].bytes, bytes, length);
            files[i].length = length;
            return;
        }
}

/* No TCP_USER_TIMEOUT: a node whose job is suspended takes nothing for as long. The anchor's connection to the agent
 * tells when it is dead, and a node that has lost this one makes another. */
static void take_connection(int fd) {
    int yes = 1;
    fcntl(fd, F_SETFL, (long)(O_RDWR | O_NONBLOCK));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
    tunnel_connect(&tunnel, fd);
    for (int i = 0; i < FILES; i++)
        if (files[i].length) tunnel_say(&tunnel, NETWORK_FILE, files[i].bytes, files[i].length);
    owes_config = 1;
}

static void take_order(void) {
    static uint8_t message[1 + MESSAGE];
    int fd = -1, count;
    int length = receive_descriptors(control, message, sizeof message, &fd, 1, &count);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (length <= 0) { /* the anchor has ended, or the container has */
        near_end();
        restore();
        _exit(0);
    }
    if (*message == 'c' && count) take_connection(fd);
    if (*message == 'f') keep_file(message + 1, (size_t)length - 1);
}

static void take_frame(int channel, const uint8_t *bytes, size_t length) {
    if (channel == NAMES) {
        answers_ask(bytes, length, &tunnel);
    } else if (channel == CONFIGURED) {
        if (length) say(*bytes == 'k' ? 'u' : 'w', (const char *)bytes + 1, length < 256 ? length - 1 : 255);
    } else if (length < SHORTEST) {
        return;
    } else if (channel == NEAR && near_tap >= 0) {
        if (write(near_tap, bytes, length) < 0) {}
    } else if (channel < LINKS && packets[channel] >= 0) {
        send(packets[channel], bytes, length, MSG_DONTWAIT);
    }
}

static void read_frames(int fd, enum channel channel) {
    for (int k = 0; k < FRAMES_AT_ONCE && tunnel_has_room(&tunnel); k++) {
        ssize_t length = read(fd, tunnel_place(&tunnel), FRAME);
        if (length < 0 && errno == EINVAL) continue; /* of a kind that VNET_HEADER can't describe */
        if (length < 0) return;
        if (length >= SHORTEST) tunnel_put(&tunnel, channel, (size_t)length);
    }
}

static void take_changes(void) {
    static char bytes[8192];
    while (recv(changes, bytes, sizeof bytes, MSG_DONTWAIT) > 0 || errno == ENOBUFS) {}
    look_at = milliseconds() + QUIET;
}

enum watched { CONTROL, CHANGES, TUNNEL, NEAR_TAP, PACKETS };
#define ASKED (PACKETS + LINKS)
#define LOCAL (ASKED + ANSWERS)
#define WATCHED (LOCAL + LOOPBACKS)

static void turn(void) {
    struct pollfd watched[WATCHED];
    int is_open = tunnel.connection >= 0 && tunnel_has_room(&tunnel);
    watched[CONTROL] = (struct pollfd){control, POLLIN, 0};
    watched[CHANGES] = (struct pollfd){changes, POLLIN, 0};
    short events = (short)(POLLIN | (tunnel_is_waiting(&tunnel) ? POLLOUT : 0));
    watched[TUNNEL] = (struct pollfd){tunnel.connection, events, 0};
    watched[NEAR_TAP] = (struct pollfd){is_open ? near_tap : -1, POLLIN, 0};
    for (int i = 0; i < LINKS; i++) watched[PACKETS + i] = (struct pollfd){is_open ? packets[i] : -1, POLLIN, 0};
    int wait = answers_watch(watched + ASKED, tunnel_has_room(&tunnel));
    loopback_watch(watched + LOCAL);
    if (look_at) {
        long left = look_at - milliseconds();
        if (wait < 0 || left < wait) wait = left < 0 ? 0 : (int)left;
    }
    if (tunnel_is_dirty(&tunnel) && (wait < 0 || wait > IDLE)) wait = IDLE;
    int ready = poll(watched, WATCHED, wait);
    if (ready < 0) return;
    if (ready == 0) tunnel_release(&tunnel);
    if (watched[CONTROL].revents) take_order();
    if (watched[CHANGES].revents) take_changes();
    if (look_at && milliseconds() >= look_at) {
        look_at = 0;
        look_and_take_over(0);
    }
    tell_config();
    for (int i = 0; i < LINKS; i++)
        if (watched[PACKETS + i].revents && packets[i] >= 0) read_frames(packets[i], (enum channel)i);
    if (watched[NEAR_TAP].revents && near_tap >= 0) read_frames(near_tap, NEAR);
    answers_serve(watched + ASKED, &tunnel);
    loopback_serve(watched + LOCAL);
    if (watched[TUNNEL].revents && tunnel.connection >= 0 && tunnel_receive(&tunnel, take_frame)) broken();
    if (tunnel.connection >= 0 && tunnel_send(&tunnel)) broken();
}

int main(int count, char **arguments, char **environment) {
    (void)environment;
    int is_again = 0, namespace = count > 2 ? (int)read_number(arguments[2]) : -1;
    control = count > 2 ? (int)read_number(arguments[1]) : -1;
    for (int i = 3; i < count; i++) {
        is_again |= !strcmp(arguments[i], "again");
        has_near |= !strcmp(arguments[i], "near");
        has_names |= !strcmp(arguments[i], "names");
        if (!strcmp(arguments[i], "port") && i + 2 < count) loopback_publish(arguments[i + 1], arguments[i + 2]);
    }
    if (control < 0 || namespace < 0) {
        static const char words[] = "scrun-network: scrun calls it, with descriptors of its own\n";
        if (write(2, words, sizeof words - 1) < 0) {}
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    network_clear(&network);
    for (int i = 0; i < LINKS; i++) packets[i] = -1;
    enter(namespace);
    close(namespace);
    drop_power();
    netlink = netlink_open(0);
    changes = netlink_open(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR);
    int error = netlink < 0 || changes < 0 ? errno : tunnel_begin(&tunnel);
    if (error) give_up("cannot ask the kernel about the engine's interfaces", NULL, error);
    if (is_again) take_earlier();
    network.name_server = has_names;
    if (has_names) answers_begin();
    look_and_take_over(1);
    if (has_near) loopback_begin();
    for (;;) turn();
}
