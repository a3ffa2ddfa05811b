/* What the two ends of a container's network share: scrun-node's (network.c, furnish.c) on the node, and
 * scrun-network's (../network) on the login host. docs/protocol.md, "The container's network", is what they follow. */
#ifndef SCRUN_NETWORK_H
#define SCRUN_NETWORK_H

#include "base.h"

#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

/* ---- netconf.c: what there is in a network namespace, and the text that says it ---- */
#define LINKS 16
#define INTERFACE_ADDRESSES 64
#define ROUTES 128
#define NETWORK_TEXT 32768
struct network_link {
    char name[IFNAMSIZ]; /* empty: this number is not in use */
    int index;           /* here, in this namespace; no part of the text */
    uint32_t mtu;
    uint8_t mac[6];
    int without_ipv6;
};
struct network_address {
    int link, size, prefix; /* the link's number; bytes: 4 or 16; bits */
    uint8_t bytes[16];
};
struct network_route {
    int link, size, prefix, has_gateway, has_source, on_link;
    uint8_t to[16], gateway[16], source[16];
    uint32_t metric;
};
struct network {
    struct network_link links[LINKS]; /* the place in this list is the number of the link's channel */
    struct network_address addresses[INTERFACE_ADDRESSES];
    struct network_route routes[ROUTES];
    int address_count, route_count;
    int near;        /* the number of the link that is the way to login's namespace itself, or -1 */
    int name_server; /* whether 127.0.0.11 answers */
};
void network_clear(struct network *n);
void network_write(const struct network *n, struct text *to);
int network_read(struct network *n, char *text); /* changes the text; -1: it isn't one */
int network_link_named(const struct network *n, const char *name); /* its number, or -1 */

/* ---- netlink.c: the kernel's tables (rtnetlink(7)) ---- */
/* Login's namespace, as the container sees it: 169.254.77.77, and fd73:6372:756e::77. */
#define NEAR_ADDRESS "\xa9\xfe\x4d\x4d"
#define NEAR_ADDRESS_6 "\xfdscrun\0\0\0\0\0\0\0\0\0\x77"
struct request {
    _Alignas(struct nlmsghdr) uint8_t bytes[512];
    size_t length;
};
void request_begin(struct request *r, uint16_t type, uint16_t flags, const void *body, size_t size);
void request_add(struct request *r, uint16_t name, const void *value, size_t size);
int netlink_open(uint32_t groups);                 /* a socket, or -1 */
int netlink_call(int fd, struct request *r);       /* 0 or an errno */
typedef void take_entry(struct nlmsghdr *entry, void *about);
int netlink_list(int fd, uint16_t type, uint8_t family, take_entry *take, void *about); /* 0 or an errno */
const struct rtattr *attribute(const struct nlmsghdr *entry, size_t body, uint16_t name); /* NULL: it isn't there */
int change_address(int fd, const struct network_address *a, int index, int is_new);
int change_route(int fd, const struct network_route *r, int index, int is_new);
int change_near_route(int fd, const uint8_t *to, int size, uint8_t table, int index, int with_source);
int change_near_neighbour(int fd, int size, int index, const uint8_t mac[6]);
const uint8_t *near_address(int size); /* size: 4 or 16 bytes */
int remove_local_route(int fd, const uint8_t to[4]);
int link_index(const char *name); /* in this process's network namespace; 0 with errno: there is none */
int change_link(int fd, int index, const struct network_link *as, uint32_t flags);
int set_sysctl(const char *before, const char *name, const char *after, const char *value); /* 0 or an errno */
int read_sysctl(const char *before, const char *name, const char *after);                   /* its number, or -1 */
int open_tap(const char *name);                     /* in this process's network namespace; -1 with errno */
void add_addresses(int fd, const struct network *n, struct text *wrong); /* and routes, to links that are there */

/* ---- tunnel.c: a connection on which frames go both ways ---- */
#define FRAME 67584     /* bytes: the longest packet that the kernel hands over whole, with its two headers */
#define VNET_HEADER 10  /* bytes before the packet (struct virtio_net_hdr) */
enum channel { NEAR = LINKS, CONFIG = 32, CONFIGURED, NAMES, NETWORK_FILE };
struct ring {
    uint8_t *bytes; /* mapped twice in a row, so that each frame lies in one piece */
    int memory, dirty;
    uint64_t begin, end; /* positions in the stream */
};
struct tunnel {
    int connection; /* -1: there is none */
    struct ring out, in;
};
int tunnel_begin(struct tunnel *t); /* 0 or an errno */
void tunnel_connect(struct tunnel *t, int connection); /* in the place of the one before */
void tunnel_disconnect(struct tunnel *t);
int tunnel_has_room(const struct tunnel *t);  /* for a frame */
int tunnel_is_waiting(const struct tunnel *t); /* there is something to be sent */
uint8_t *tunnel_place(struct tunnel *t);      /* where the next frame's bytes may be put, if there is room */
void tunnel_put(struct tunnel *t, enum channel channel, size_t length);
void tunnel_say(struct tunnel *t, enum channel channel, const void *bytes, size_t length);
int tunnel_send(struct tunnel *t);            /* -1: it broke */
/* Read what has come, and call take for each whole frame; -1: it broke, or a frame was a bad one. */
int tunnel_receive(struct tunnel *t, void (*take)(int channel, const uint8_t *bytes, size_t length));
int tunnel_is_dirty(const struct tunnel *t);
void tunnel_release(struct tunnel *t);        /* gives back the memory that isn't in use */

#endif
