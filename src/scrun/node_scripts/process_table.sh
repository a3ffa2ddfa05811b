# Print the pids of the container's processes, and then the table of ps(1) with the options that are given: of all the
# node's processes, because the caller chooses. A node without ps gets a table of the container's processes from /proc.
# The pids are the first word that the script gets.
members=$1
shift
unset COLUMNS # where slurmd was begun at a terminal, rows would be cut off
echo "$members"
if command -v ps >/dev/null; then
    ps "$@"
else
    echo "PID PPID S CMD"
    for pid in $members; do
        ppid= state= command=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline")
        while read -r key value rest; do
            case $key in Name:) name=$value ;; State:) state=$value ;; PPid:) ppid=$value ;; esac
        done 2>/dev/null <"/proc/$pid/status"
        [ -n "$state" ] || continue
        command=${command% }
        echo "$pid $ppid $state ${command:-[$name]}"
    done
fi
