# `reach PORT TOKEN` connects descriptor 3 to the host of this step's srun, where both ends show that they know the token
# (arrivals.py). Otherwise it fails, with 124 if nothing answers for 5 s.
reach() {
    # A first connection may wait for a firewall that drops it, for minutes; this one is given up.
    [ -n "$BASH_VERSION" ] || return 1
    timeout 5 bash -c 'exec 3<>"/dev/tcp/$1/$2"' sh "$SLURM_SRUN_COMM_HOST" "$1"
    case $? in
        0) exec 3<>"/dev/tcp/$SLURM_SRUN_COMM_HOST/$1" || return 1 ;;
        124) return 124 ;;
        *) return 1 ;;
    esac
    prove "$2" && return
    exec 3<&-
    return 1
} 2>/dev/null
# Show that we know the token, and see whether the other end does: arrivals.py. Printing is the shell's own, so that the
# token is on no command line.
prove() {
    IFS= read -r -t 10 theirs <&3 && IFS= read -r mine </proc/sys/kernel/random/uuid || return 1
    digest "$1 $theirs $mine $host node $1"
    printf '%s\n' "$host $mine $sum" >&3 || return 1
    digest "$1 $theirs $mine $host login $1"
    IFS= read -r -t 10 shown <&3 && [ -n "$sum" ] && [ "$shown" = "$sum" ]
}
digest() { sum=$(printf %s "$1" | sha256sum); sum=${sum%% *}; }
