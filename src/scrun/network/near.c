/* Some programs connect to a published port from inside the engine's namespace: rootlessport and pasta to the
 * container's address there, a pasta before 2024 to 127.0.0.1. An interface of our own, scrun0, leads what they send to
 * the node. */
#include "login.h"

#define LOOPBACK "\x7f\0\0\1"

int near_tap = -1;

static int index_of_tap;

static int first_with_ipv4(void) {
    for (int i = 0; i < network.address_count; i++)
        if (network.addresses[i].size == 4) return network.addresses[i].link;
    return -1;
}

const uint8_t *near_target(void) {
    for (int i = 0; i < network.address_count; i++)
        if (network.addresses[i].size == 4) return network.addresses[i].bytes;
    return (const uint8_t *)LOOPBACK;
}

static void enable_ipv6(void) {
    struct network_address own = {.size = 16, .prefix = 128};
    memcpy(own.bytes, NEAR_ADDRESS_6, 16);
    set_sysctl("ipv6/conf/", "scrun0", "/addr_gen_mode", "1"); /* no address of its own making */
    set_sysctl("ipv6/conf/", "scrun0", "/disable_ipv6", "0");
    change_address(netlink, &own, index_of_tap, 1);
}

static void lead_addresses(void) {
    for (int i = 0; i < network.address_count; i++) {
        const struct network_address *a = &network.addresses[i];
        if (a->size == 16) enable_ipv6();
        change_near_route(netlink, a->bytes, a->size, RT_TABLE_MAIN, index_of_tap, 1);
    }
}

static void make_interface(const struct network_link *like) {
    struct network_address own = {.size = 4, .prefix = 32};
    int error = 0;
    near_tap = open_tap("scrun0");
    if (near_tap < 0) give_up("cannot make an interface with this host's", "/dev/net/tun", errno);
    if (!(index_of_tap = link_index("scrun0"))) error = errno;
    memcpy(own.bytes, NEAR_ADDRESS, 4);
    set_sysctl("ipv6/conf/", "scrun0", "/disable_ipv6", "1");
    set_sysctl("ipv4/conf/", "scrun0", "/rp_filter", "0");
    if (!error) error = set_sysctl("ipv4/conf/", "scrun0", "/route_localnet", "1");
    if (!error) error = set_sysctl("ipv4/conf/", "scrun0", "/accept_local", "1"); /* answers come from 127.0.0.1 */
    if (!error) error = change_link(netlink, index_of_tap, like, IFF_UP | IFF_NOARP);
    if (!error) error = change_address(netlink, &own, index_of_tap, 1);
    if (!error) remove_local_route(netlink, (const uint8_t *)LOOPBACK);
    if (!error) error = change_near_route(netlink, (const uint8_t *)LOOPBACK, 4, RT_TABLE_LOCAL, index_of_tap, 1);
    if (error) give_up("cannot lead the engine's published ports to the node", NULL, error);
}

/* Without ARP each packet has scrun0's own MAC, which is the one that the container's interface has. */
void near_begin(void) {
    int number = first_with_ipv4();
    if (near_tap < 0 && number < 0) return;
    if (near_tap < 0) make_interface(&network.links[number]);
    else if (number >= 0 && number != network.near) change_link(netlink, index_of_tap, &network.links[number], 0);
    network.near = number;
    lead_addresses();
}

/* The routes by the interface go with it; what is sent to 127.0.0.1 stays in the namespace again. */
void near_end(void) {
    if (near_tap >= 0) close(near_tap);
    near_tap = -1;
}
