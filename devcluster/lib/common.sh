# Where things are, and how to speak of them. Sourced by everything else.
# shellcheck shell=bash
# Its variables are used by the files that are sourced later.
# shellcheck disable=SC2034

CHECKOUT=$(dirname "$HERE")
CACHE=${SCRUN_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/scrun}/devcluster
# Small state: pids, the lock. What takes room is in $CACHE/clusters or $DEVCLUSTER_DATA, as /run may be a small tmpfs.
RUN=${DEVCLUSTER_RUN:-/run/scrun-devcluster}
SUBNET=10.77.0

say() { printf 'devcluster: %s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

source_lib() {
    local name
    for name; do
        # shellcheck source=/dev/null
        source "$HERE/lib/$name.sh"
    done
}

# A start time makes a recorded pid safe to use: another process with that number has another one.
# Sets REPLY; no fork, as exec calls it.
start_time() {
    local stat fields
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    read -ra fields <<<"${stat##*) }"
    REPLY=${fields[19]}
}

# recorded_pid FILE: sets REPLY to the pid that FILE ("PID STARTTIME") names, if it is still that process.
recorded_pid() {
    local pid started
    { read -r pid started <"$1"; } 2>/dev/null || return 1
    start_time "$pid" && [[ $REPLY == "$started" ]] || return 1
    REPLY=$pid
}

# wait_until SECONDS CMD…: tries CMD until it succeeds.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

# Never remove a tree in which something is mounted: what is mounted there isn't ours to delete.
remove_tree() {
    local dir=$1
    [[ -e $dir ]] || return 0
    dir=$(readlink -f "$dir")
    if awk -v dir="$dir" '$5 == dir || index($5, dir "/") == 1 { found = 1 } END { exit !found }' \
        /proc/self/mountinfo; then
        die "something is mounted in $dir: not removing it"
    fi
    rm -rf --one-file-system "$dir"
}
