# Stop every process of the container on this node. Just after the start the node's runtime may not know the container
# yet, so the script waits for it. kill(2) of -1 within a pid namespace reaches all processes in it but the first, at
# once: no fork escapes it. It may be sent only into a namespace of the container's own. The loop stops the rest, and all
# on nodes without nsenter(1). It ends when twice in a row every process that is found has stopped, because a process
# that has ended meanwhile may have left a child.
tries=0
until [ -n "$here" ]; do
    if [ $tries -ge 40 ]; then
        say "the runtime of $SLURMD_NODENAME doesn't know it"
        exit 1
    fi
    tries=$((tries + 1))
    sleep 0.1
    find_here
done
each pause && exit 0
for init in $inits; do
    [ "/proc/$init/ns/pid" -ef "/proc/$$/ns/pid" ] && continue
    user='--user --preserve-credentials'
    [ "/proc/$init/ns/user" -ef "/proc/$$/ns/user" ] && user=
    nsenter --target "$init" $user --pid sh -c 'kill -s STOP -1' 2>/dev/null
done
quiet=0 round=0
while [ $quiet -lt 2 ]; do
    find_members
    quiet=$((quiet + 1))
    for pid in $members; do
        look_at "$pid"
        case $state in
            [TtZX]*|D*[4567cdef]????) ;;
            *) send STOP "$pid" 2>/dev/null; quiet=0 last=$pid ;;
        esac
    done
    round=$((round + 1))
    [ $round -lt 20 ] || sleep 0.05
    if [ $round -ge 150 ]; then
        say "process $last on $SLURMD_NODENAME doesn't stop"
        exit 1
    fi
done
