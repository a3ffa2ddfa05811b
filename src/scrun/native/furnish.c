/* The container's network namespace, made like the engine's: interfaces, addresses, routes. A process of its own does
 * it, which enters the container's namespaces, passes back the descriptors of what it has opened there, and ends. */
#include "furnish.h"

#define NAME_SERVER "\x7f\0\0\x0b" /* 127.0.0.11, where docker's containers ask */

static int peer; /* the network's process, which gets what is opened */

static _Noreturn void fail(const char *what, const char *which, int error) {
    TEXT(words, 256);
    put(&words, "e");
    put(&words, what);
    put(&words, which);
    if (error) put(&words, ": ");
    if (error) put_error(&words, error);
    send(peer, words.start, words.length, MSG_NOSIGNAL);
    _exit(1);
}

static void pass(char letter, int number, int fd) {
    char text[2] = {letter, (char)number};
    if (send_descriptors(peer, text, sizeof text, &fd, 1)) fail("cannot pass a descriptor", "", errno);
    close(fd);
}

static void make_link(int netlink, struct network_link *link, int number, int is_there) {
    int error;
    if (!is_there) {
        int tap = open_tap(link->name);
        if (tap < 0 && (errno == ENOENT || errno == ENXIO || errno == ENODEV || errno == EACCES))
            fail("this node has no /dev/net/tun that its users may open, so the container can't have ",
                 "the engine's network (SCRUN_NET=node: the node's own)", 0);
        if (tap < 0) fail("cannot make the interface ", link->name, errno);
        pass('t', number, tap);
    }
    link->index = link_index(link->name);
    if (!link->index) fail("there is no interface ", link->name, 0);
    set_sysctl("ipv6/conf/", link->name, "/disable_ipv6", link->without_ipv6 ? "1" : "0");
    set_sysctl("ipv6/conf/", link->name, "/accept_dad", "0");
    if (!is_there && (error = change_link(netlink, link->index, link, IFF_UP)))
        fail("cannot set up the interface ", link->name, error);
}

/* The way to the engine's namespace itself: what comes from there may be for 127.0.0.1. */
static void make_near(int netlink, const struct network_link *link) {
    int error = set_sysctl("ipv4/conf/", link->name, "/route_localnet", "1");
    for (int size = 4; size <= 16 && !(size == 16 && link->without_ipv6); size *= 4) {
        int failed = change_near_route(netlink, near_address(size), size, RT_TABLE_MAIN, link->index, 0);
        if (!failed) failed = change_near_neighbour(netlink, size, link->index, link->mac);
        if (!error && size == 4) error = failed; /* a node may have no IPv6 */
    }
    if (error) fail("cannot make the way to the engine's ports by ", link->name, error);
}

static void make_name_server(void) {
    static const int kinds[] = {SOCK_DGRAM, SOCK_STREAM};
    struct sockaddr_in at = {.sin_family = AF_INET};
    int yes = 1;
    memcpy(&at.sin_port, "\0\x35", 2);
    memcpy(&at.sin_addr, NAME_SERVER, 4);
    for (int i = 0; i < 2; i++) {
        int fd = socket(AF_INET, kinds[i] | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) || (i && listen(fd, 16)))
            fail("cannot answer for names at 127.0.0.11 port 53", "", errno);
        pass('d', i, fd);
    }
}

static _Noreturn void furnish_here(struct network *n, const int *there, int with_names, int user, int net) {
    TEXT(wrong, 256);
    if (user >= 0 && setns(user, CLONE_NEWUSER)) fail("cannot enter the container's user namespace", "", errno);
    if (setns(net, CLONE_NEWNET)) fail("cannot enter the container's network namespace", "", errno);
    int netlink = netlink_open(0);
    if (netlink < 0) fail("cannot ask the kernel about interfaces", "", errno);
    change_link(netlink, link_index("lo"), NULL, IFF_UP);
    set_sysctl("ipv4/ip_unprivileged_port_start", "", "", "0"); /* as engines have it */
    for (int i = 0; i < LINKS; i++)
        if (*n->links[i].name) make_link(netlink, &n->links[i], i, there[i] >= 0);
    add_addresses(netlink, n, &wrong);
    if (wrong.length) fail(wrong.start, "", 0);
    if (n->near >= 0) make_near(netlink, &n->links[n->near]);
    if (n->name_server && with_names) make_name_server();
    send(peer, "k", 1, MSG_NOSIGNAL);
    _exit(0);
}

/* Takes what the process passes, until it says how it ended. */
static void gather(int from, int *taps, int *names, struct text *wrong) {
    for (;;) {
        char words[256] = "";
        int fds[1] = {-1}, count, length = receive_descriptors(from, words, sizeof words - 1, fds, 1, &count);
        if (length < 0 && errno == EINTR) continue;
        if (length == 2 && count == 1 && words[0] == 't' && (uint8_t)words[1] < LINKS) {
            taps[(int)words[1]] = fds[0];
        } else if (length == 2 && count == 1 && words[0] == 'd' && (uint8_t)words[1] < 2) {
            names[(int)words[1]] = fds[0];
        } else {
            if (length <= 0) put(wrong, "the process that sets up the container's network was killed");
            if (length > 1) put(wrong, words + 1);
            return;
        }
    }
}

void furnish(struct network *n, int *taps, int names[2], int user, int net, struct text *wrong) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
        put(wrong, "cannot set up the container's network");
        return;
    }
    pid_t child = fork();
    if (!child) {
        peer = ends[1];
        furnish_here(n, taps, names[0] < 0, user, net);
    }
    close(ends[1]);
    if (child < 0) put(wrong, "cannot start a process to set up the container's network");
    if (child > 0) gather(ends[0], taps, names, wrong);
    close(ends[0]);
    if (child > 0) waitpid(child, NULL, 0);
}
