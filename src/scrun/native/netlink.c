/* The kernel's links, addresses and routes (rtnetlink(7)), and TAP interfaces. */
#include "network.h"

#include <linux/neighbour.h>

#define ANSWER 65536

static uint32_t sequence;

void request_begin(struct request *r, uint16_t type, uint16_t flags, const void *body, size_t size) {
    struct nlmsghdr *header = (struct nlmsghdr *)r->bytes;
    memset(r, 0, sizeof *r);
    header->nlmsg_type = type;
    header->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    memcpy(r->bytes + NLMSG_HDRLEN, body, size);
    r->length = NLMSG_HDRLEN + NLMSG_ALIGN(size);
}

void request_add(struct request *r, uint16_t name, const void *value, size_t size) {
    struct rtattr *a = (struct rtattr *)(r->bytes + r->length);
    if (r->length + RTA_SPACE(size) > sizeof r->bytes) return;
    a->rta_type = name;
    a->rta_len = (uint16_t)RTA_LENGTH(size);
    memcpy(RTA_DATA(a), value, size);
    r->length += RTA_SPACE(size);
}

int netlink_open(uint32_t groups) {
    struct sockaddr_nl us = {.nl_family = AF_NETLINK, .nl_groups = groups};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&us, sizeof us)) {
        close(fd);
        return -1;
    }
    return fd;
}

static int ask(int fd, struct request *r) {
    struct nlmsghdr *header = (struct nlmsghdr *)r->bytes;
    header->nlmsg_len = (uint32_t)r->length;
    header->nlmsg_seq = ++sequence;
    return send(fd, r->bytes, r->length, 0) < 0 ? errno : 0;
}

/* The kernel's answers to the last request, until it says that this was all. */
static int answers(int fd, take_entry *take, void *about) {
    static _Alignas(struct nlmsghdr) uint8_t bytes[ANSWER];
    for (;;) {
        ssize_t length = recv(fd, bytes, sizeof bytes, 0);
        if (length < 0 && errno == EINTR) continue;
        if (length < 0) return errno;
        struct nlmsghdr *entry = (struct nlmsghdr *)bytes;
        for (int left = (int)length; NLMSG_OK(entry, (uint32_t)left); entry = NLMSG_NEXT(entry, left)) {
            if (entry->nlmsg_seq != sequence) continue;
            if (entry->nlmsg_type == NLMSG_DONE) return 0;
            if (entry->nlmsg_type == NLMSG_ERROR) return -((struct nlmsgerr *)NLMSG_DATA(entry))->error;
            if (take) take(entry, about);
        }
    }
}

int netlink_call(int fd, struct request *r) {
    ((struct nlmsghdr *)r->bytes)->nlmsg_flags |= NLM_F_ACK;
    int error = ask(fd, r);
    return error ? error : answers(fd, NULL, NULL);
}

int netlink_list(int fd, uint16_t type, uint8_t family, take_entry *take, void *about) {
    struct request r;
    struct rtmsg body = {.rtm_family = family}; /* the longest of the three kinds, which begin alike */
    request_begin(&r, type, NLM_F_DUMP, &body, sizeof body);
    int error = ask(fd, &r);
    return error ? error : answers(fd, take, about);
}

const struct rtattr *attribute(const struct nlmsghdr *entry, size_t body, uint16_t name) {
    const struct rtattr *a = (const struct rtattr *)((const uint8_t *)entry + NLMSG_HDRLEN + NLMSG_ALIGN(body));
    int left = (int)(entry->nlmsg_len - NLMSG_HDRLEN - NLMSG_ALIGN(body));
    for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
        if ((a->rta_type & NLA_TYPE_MASK) == name) return a;
    return NULL;
}

/* ---- changes; the result is 0 or an errno ---- */

static uint8_t family_of(int size) { return size == 4 ? AF_INET : AF_INET6; }

int change_address(int fd, const struct network_address *a, int index, int is_new) {
    struct request r;
    struct ifaddrmsg body = {family_of(a->size), (uint8_t)a->prefix, 0, 0, (uint32_t)index};
    if (a->size == 16) body.ifa_flags = IFA_F_NODAD; /* engine's addresses are nobody else's */
    request_begin(&r, is_new ? RTM_NEWADDR : RTM_DELADDR, is_new ? NLM_F_CREATE | NLM_F_REPLACE : 0, &body,
                  sizeof body);
    request_add(&r, IFA_LOCAL, a->bytes, (size_t)a->size);
    request_add(&r, IFA_ADDRESS, a->bytes, (size_t)a->size);
    if (a->size == 4 && a->prefix < 31) {
        uint8_t broadcast[4];
        put32(broadcast, get32(a->bytes) | 0xffffffffU >> a->prefix);
        request_add(&r, IFA_BROADCAST, broadcast, 4);
    }
    return netlink_call(fd, &r);
}

int change_route(int fd, const struct network_route *route, int index, int is_new) {
    struct request r;
    struct rtmsg body = {.rtm_family = family_of(route->size), .rtm_dst_len = (uint8_t)route->prefix};
    body.rtm_table = RT_TABLE_MAIN;
    body.rtm_protocol = RTPROT_BOOT;
    body.rtm_type = RTN_UNICAST;
    body.rtm_scope = route->has_gateway || route->size == 16 ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
    if (route->on_link) body.rtm_flags = RTNH_F_ONLINK;
    request_begin(&r, is_new ? RTM_NEWROUTE : RTM_DELROUTE, is_new ? NLM_F_CREATE | NLM_F_EXCL : 0, &body, sizeof body);
    request_add(&r, RTA_DST, route->to, (size_t)route->size);
    if (route->has_gateway) request_add(&r, RTA_GATEWAY, route->gateway, (size_t)route->size);
    if (route->has_source) request_add(&r, RTA_PREFSRC, route->source, (size_t)route->size);
    if (route->metric) request_add(&r, RTA_PRIORITY, &route->metric, sizeof route->metric);
    request_add(&r, RTA_OIF, &index, sizeof index);
    return netlink_call(fd, &r);
}

const uint8_t *near_address(int size) { return (const uint8_t *)(size == 4 ? NEAR_ADDRESS : NEAR_ADDRESS_6); }

/* A route to one address by a link, whichever was there before. */
int change_near_route(int fd, const uint8_t *to, int size, uint8_t table, int index, int with_source) {
    struct request r;
    struct rtmsg body = {.rtm_family = family_of(size), .rtm_dst_len = (uint8_t)(8 * size), .rtm_table = table};
    body.rtm_protocol = RTPROT_STATIC;
    body.rtm_type = RTN_UNICAST;
    body.rtm_scope = size == 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    request_begin(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &body, sizeof body);
    request_add(&r, RTA_DST, to, (size_t)size);
    if (with_source) request_add(&r, RTA_PREFSRC, near_address(size), (size_t)size);
    request_add(&r, RTA_OIF, &index, sizeof index);
    return netlink_call(fd, &r);
}

int remove_local_route(int fd, const uint8_t to[4]) {
    struct request r;
    struct rtmsg body = {.rtm_family = AF_INET, .rtm_dst_len = 32, .rtm_table = RT_TABLE_LOCAL, .rtm_type = RTN_LOCAL};
    body.rtm_scope = RT_SCOPE_NOWHERE; /* any */
    request_begin(&r, RTM_DELROUTE, 0, &body, sizeof body);
    request_add(&r, RTA_DST, to, 4);
    return netlink_call(fd, &r);
}

int change_near_neighbour(int fd, int size, int index, const uint8_t mac[6]) {
    struct request r;
    struct ndmsg body = {.ndm_family = family_of(size), .ndm_ifindex = index, .ndm_state = NUD_PERMANENT};
    request_begin(&r, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &body, sizeof body);
    request_add(&r, NDA_DST, near_address(size), (size_t)size);
    request_add(&r, NDA_LLADDR, mac, 6);
    return netlink_call(fd, &r);
}

int link_index(const char *name) {
    struct ifreq about = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    memcpy(about.ifr_name, name, strlen(name) + 1);
    int is_there = fd >= 0 && !ioctl(fd, SIOCGIFINDEX, &about), error = errno;
    if (fd >= 0) close(fd);
    errno = error;
    return is_there ? about.ifr_ifindex : 0;
}

/* Its MAC and MTU, where `as` says them, and these flags (IFF_UP, IFF_NOARP). */
int change_link(int fd, int index, const struct network_link *as, uint32_t flags) {
    struct request r;
    struct ifinfomsg body = {.ifi_family = AF_UNSPEC, .ifi_index = index, .ifi_flags = flags, .ifi_change = flags};
    request_begin(&r, RTM_NEWLINK, 0, &body, sizeof body);
    if (as) request_add(&r, IFLA_ADDRESS, as->mac, 6);
    if (as) request_add(&r, IFLA_MTU, &as->mtu, sizeof as->mtu);
    return netlink_call(fd, &r);
}

static void put_sysctl(struct text *path, const char *before, const char *name, const char *after) {
    put(path, "/proc/sys/net/");
    put(path, before);
    put(path, name);
    put(path, after);
}

int set_sysctl(const char *before, const char *name, const char *after, const char *value) {
    TEXT(path, 128);
    put_sysctl(&path, before, name, after);
    int fd = open(path.start, O_WRONLY | O_CLOEXEC);
    int error = fd < 0 || write(fd, value, strlen(value)) < 0 ? errno : 0;
    if (fd >= 0) close(fd);
    return error;
}

int read_sysctl(const char *before, const char *name, const char *after) {
    char value[32];
    TEXT(path, 128);
    put_sysctl(&path, before, name, after);
    size_t length = read_file(path.start, value, sizeof value);
    while (length && value[length - 1] <= ' ') value[--length] = 0;
    return (int)read_number(value);
}

int open_tap(const char *name) {
    struct ifreq about = {0};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), error;
    if (fd < 0) return -1;
    memcpy(about.ifr_name, name, strlen(name) + 1);
    about.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
    long offload = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN; /* packets come whole, without checksums */
    if (!ioctl(fd, TUNSETIFF, &about) && !ioctl(fd, TUNSETOFFLOAD, offload)) return fd;
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

static void complain(struct text *to, const char *what, const char *link, int error) {
    if (to->length) return; /* the first counts */
    put(to, what);
    put(to, link);
    put(to, ": ");
    put_error(to, error);
}

void add_addresses(int fd, const struct network *n, struct text *wrong) {
    int error;
    for (const struct network_address *a = n->addresses; a < n->addresses + n->address_count; a++)
        if ((error = change_address(fd, a, n->links[a->link].index, 1)) && error != EEXIST)
            complain(wrong, "cannot give an address to ", n->links[a->link].name, error);
    for (int with_gateway = 0; with_gateway < 2; with_gateway++)
        for (const struct network_route *r = n->routes; r < n->routes + n->route_count; r++)
            if (r->has_gateway == with_gateway && (error = change_route(fd, r, n->links[r->link].index, 1)) &&
                error != EEXIST)
                complain(wrong, "cannot make a route by ", n->links[r->link].name, error);
}
