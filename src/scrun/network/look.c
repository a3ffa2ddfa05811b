/* The engine's network namespace: what is in it, as far as the container gets it; and the kernel's silence there while
 * the container answers in its place. */
#include "login.h"

#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#define BUFFER (4 << 20) /* bytes that a socket may hold, as far as the kernel allows */

struct network network;
int packets[LINKS], netlink;

static int seen[LINKS], has_changed;

static int link_of(int index) {
    for (int i = 0; i < LINKS; i++)
        if (*network.links[i].name && network.links[i].index == index) return i;
    return -1;
}

/* A link is gone, with all that belongs to it. */
static void forget(int number) {
    int kept = 0;
    for (int i = 0; i < network.address_count; i++)
        if (network.addresses[i].link != number) network.addresses[kept++] = network.addresses[i];
    network.address_count = kept;
    kept = 0;
    for (int i = 0; i < network.route_count; i++)
        if (network.routes[i].link != number) network.routes[kept++] = network.routes[i];
    network.route_count = kept;
    memset(&network.links[number], 0, sizeof network.links[number]);
    if (packets[number] >= 0) close(packets[number]);
    packets[number] = -1;
    if (network.near == number) network.near = -1;
    has_changed = 1;
}

/* A number for a link that has none yet, or -1. An earlier scrun-network may have told one, without the index. Else a
 * link of the same name has gone; this one gets another number, so that the node makes another interface. */
static int new_number(const char *name) {
    int before = network_link_named(&network, name);
    if (before >= 0 && !network.links[before].index) return before;
    if (before >= 0 && seen[before]) return -1;
    if (before >= 0) forget(before);
    for (int i = 0; i < LINKS; i++)
        if (!*network.links[i].name && i != before) return i;
    return -1;
}

static void take_link(struct nlmsghdr *entry, void *about) {
    const struct ifinfomsg *body = NLMSG_DATA(entry);
    const struct rtattr *name = attribute(entry, sizeof *body, IFLA_IFNAME), *mac, *mtu;
    (void)about;
    mac = attribute(entry, sizeof *body, IFLA_ADDRESS);
    mtu = attribute(entry, sizeof *body, IFLA_MTU);
    if (entry->nlmsg_type != RTM_NEWLINK || !name || !mac || !mtu || RTA_PAYLOAD(mac) != 6) return;
    if (body->ifi_type != ARPHRD_ETHER || !(body->ifi_flags & IFF_UP)) return;
    if (!strcmp(RTA_DATA(name), "scrun0") || RTA_PAYLOAD(name) > IFNAMSIZ) return; /* near.c's */
    int number = link_of(body->ifi_index);
    if (number < 0) number = new_number(RTA_DATA(name));
    if (number < 0) return;
    struct network_link *link = &network.links[number];
    seen[number] = 1;
    link->index = body->ifi_index;
    if (!*link->name) {
        memcpy(link->name, RTA_DATA(name), strlen(RTA_DATA(name)) + 1);
        link->without_ipv6 = read_sysctl("ipv6/conf/", link->name, "/disable_ipv6") != 0;
        has_changed = 1;
    }
    memcpy(link->mac, RTA_DATA(mac), 6);
    memcpy(&link->mtu, RTA_DATA(mtu), sizeof link->mtu);
}

static void take_address(struct nlmsghdr *entry, void *about) {
    const struct ifaddrmsg *body = NLMSG_DATA(entry);
    int number = link_of((int)body->ifa_index), size = body->ifa_family == AF_INET ? 4 : 16;
    (void)about;
    if (entry->nlmsg_type != RTM_NEWADDR || number < 0 || network.address_count == INTERFACE_ADDRESSES) return;
    if (body->ifa_family != AF_INET && body->ifa_family != AF_INET6) return;
    if (size == 16 && body->ifa_scope == RT_SCOPE_LINK) return; /* each end has its own */
    const struct rtattr *local = attribute(entry, sizeof *body, size == 4 ? IFA_LOCAL : IFA_ADDRESS);
    if (!local || (int)RTA_PAYLOAD(local) != size) return;
    struct network_address a = {number, size, body->ifa_prefixlen, {0}};
    memcpy(a.bytes, RTA_DATA(local), (size_t)size);
    for (int i = 0; i < network.address_count; i++)
        if (!memcmp(&network.addresses[i], &a, sizeof a)) return;
    network.addresses[network.address_count++] = a;
    has_changed = 1;
}

static int copy(uint8_t *to, const struct rtattr *from, int size) {
    if (!from || (int)RTA_PAYLOAD(from) != size) return 0;
    memcpy(to, RTA_DATA(from), (size_t)size);
    return 1;
}

static void take_route(struct nlmsghdr *entry, void *about) {
    const struct rtmsg *body = NLMSG_DATA(entry);
    struct network_route r = {0};
    const struct rtattr *link = attribute(entry, sizeof *body, RTA_OIF), *metric;
    int index;
    (void)about;
    if (entry->nlmsg_type != RTM_NEWROUTE || !link || network.route_count == ROUTES) return;
    if (body->rtm_family != AF_INET && body->rtm_family != AF_INET6) return;
    if (body->rtm_type != RTN_UNICAST || body->rtm_table != RT_TABLE_MAIN) return;
    if (body->rtm_protocol == RTPROT_KERNEL || body->rtm_protocol == RTPROT_RA) return; /* the node's kernel does too */
    if (body->rtm_flags & RTM_F_CLONED) return;
    memcpy(&index, RTA_DATA(link), sizeof index);
    r.link = link_of(index);
    r.size = body->rtm_family == AF_INET ? 4 : 16;
    r.prefix = body->rtm_dst_len;
    if (r.link < 0 || (r.prefix && !copy(r.to, attribute(entry, sizeof *body, RTA_DST), r.size))) return;
    r.has_gateway = copy(r.gateway, attribute(entry, sizeof *body, RTA_GATEWAY), r.size);
    r.has_source = copy(r.source, attribute(entry, sizeof *body, RTA_PREFSRC), r.size);
    r.on_link = (body->rtm_flags & RTNH_F_ONLINK) != 0;
    if ((metric = attribute(entry, sizeof *body, RTA_PRIORITY))) memcpy(&r.metric, RTA_DATA(metric), sizeof r.metric);
    for (int i = 0; i < network.route_count; i++)
        if (!memcmp(&network.routes[i], &r, sizeof r)) return;
    network.routes[network.route_count++] = r;
    has_changed = 1;
}

int look(void) {
    has_changed = 0;
    memset(seen, 0, sizeof seen);
    int error = netlink_list(netlink, RTM_GETLINK, AF_UNSPEC, take_link, NULL);
    for (int i = 0; i < LINKS; i++)
        if (!error && *network.links[i].name && !seen[i]) forget(i);
    if (!error) error = netlink_list(netlink, RTM_GETADDR, AF_UNSPEC, take_address, NULL);
    if (!error) error = netlink_list(netlink, RTM_GETROUTE, AF_UNSPEC, take_route, NULL);
    if (error) give_up("cannot ask the kernel about the engine's interfaces", NULL, error);
    return has_changed;
}

static int open_packets(const struct network_link *link) {
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1, size = BUFFER;
    struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_ifindex = link->index};
    memcpy(&at.sll_protocol, "\0\3", 2); /* ETH_P_ALL */
    if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &yes, sizeof yes) ||
        setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes))
        give_up("cannot open the engine's interface", link->name, errno);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (bind(fd, (struct sockaddr *)&at, sizeof at)) give_up("cannot open the engine's interface", link->name, errno);
    return fd;
}

static int has_ipv6(int number) {
    for (int i = 0; i < network.address_count; i++)
        if (network.addresses[i].link == number && network.addresses[i].size == 16) return 1;
    return 0;
}

/* with_local: a link-local address of IPv6 stays where it is a link's only one, for loopback.c. */
void take_over(int with_local) {
    for (int i = 0; i < LINKS; i++) {
        struct network_link *link = &network.links[i];
        if (!*link->name || packets[i] >= 0) continue;
        packets[i] = open_packets(link);
        set_sysctl("ipv4/conf/", link->name, "/forwarding", "0"); /* by near.c's routes each packet would come twice */
        if (!link->without_ipv6 && !(with_local && !has_ipv6(i)))
            set_sysctl("ipv6/conf/", link->name, "/disable_ipv6", "1");
    }
    for (const struct network_address *a = network.addresses; a < network.addresses + network.address_count; a++)
        change_address(netlink, a, network.links[a->link].index, 0);
}

void restore(void) {
    TEXT(wrong, 256);
    for (int i = 0; i < LINKS; i++) {
        if (packets[i] < 0) continue;
        close(packets[i]);
        packets[i] = -1;
        if (!network.links[i].without_ipv6) set_sysctl("ipv6/conf/", network.links[i].name, "/disable_ipv6", "0");
    }
    add_addresses(netlink, &network, &wrong);
}
