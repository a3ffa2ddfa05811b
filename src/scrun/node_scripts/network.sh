# Each node prints a line: its name, and what it lacks for a container on the engine's network, or "-".
# Argument: the device that TAP interfaces are made with.
LC_ALL=C; export LC_ALL
host=${SLURMD_NODENAME:-$(uname -n)}
lacks=-
[ -c "$1" ] && (: <>"$1") 2>/dev/null || lacks="it has no $1 that its users may open"
limits=net
[ "$(id -u)" = 0 ] || limits="net user" # root's containers have no user namespace
for limit in $limits; do
    most=
    read -r most <"/proc/sys/user/max_${limit}_namespaces" 2>/dev/null
    [ "$most" != 0 ] || lacks="user.max_${limit}_namespaces is 0 on it"
done
say "$host $lacks"
