# Let the container's processes on this node go on. SIGCONT is sent only to processes that are stopped, because a process
# may have a handler for it.
each resume
for task in $here; do
    case $(@PROGRAM@ state "@NAME@" 2>/dev/null) in
        *'"status": "paused"'*) say "its cgroup on $SLURMD_NODENAME stays frozen"; exit 1 ;;
    esac
done
find_members
for pid in $members; do
    look_at "$pid"
    case $state in
        T*|D*[4567cdef]????) send CONT "$pid" ;;
    esac
done
exit 0
