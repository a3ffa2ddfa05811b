# The hosts' network: a bridge in a network namespace that only the cluster has, so that this machine's own network
# is not touched. Each has a gateway, the switch, and from there no way leads on.
# shellcheck shell=bash

host_address() {
    case $1 in
        login) printf '%s.10\n' "$SUBNET" ;;
        node*) printf '%s.%d\n' "$SUBNET" $((100 + ${1#node})) ;;
    esac
}

# plug HOST SWITCH_PID HOST_PID
plug() {
    local host=$1 switch=$2 pid=$3
    # By name: with --net alone the pid below is read in this machine's own pid namespace.
    nsenter --target "$switch" --net ip -batch - <<IP
link add $host type veth peer name eth0 netns $pid
link set $host master br0 up
IP
    nsenter --target "$pid" --net ip -batch - <<IP
link set lo up
addr add $(host_address "$host")/24 dev eth0
link set eth0 up
route add default via $SUBNET.1
IP
}

hosts_file() {
    local host
    printf '127.0.0.1 localhost\n'
    for host; do
        printf '%s %s\n' "$(host_address "$host")" "$host"
    done
}
