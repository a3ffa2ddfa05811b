# up, down: the cluster as a whole.
# shellcheck shell=bash

# Clusters with different DEVCLUSTER_RUN live side by side.
cluster_id() { sha256sum <<<"$RUN" | cut -c1-8; }

cluster_data() { printf '%s/%s\n' "${DEVCLUSTER_DATA:-$CACHE/clusters}" "$(cluster_id)"; }

cmd_up() {
    local count='' node with=''
    while (($#)); do
        case $1 in
            --nodes=*) count=${1#*=} && shift ;;
            --nodes) count=${2-} && shift 2 ;;
            --with=*) with=${1#*=} && shift ;;
            --with) with=${2-} && shift 2 ;;
            *) die "up: unknown argument $1" ;;
        esac
    done
    [[ -z $count || $count =~ ^([1-9]|[1-5][0-9]|6[0-4])$ ]] || die "up: --nodes takes a number from 1 to 64"

    local running=''
    [[ ! -e $RUN/profiles ]] || running=$(<"$RUN/profiles")
    choose_profiles "${with:-$running}"
    with=$(IFS=, && echo "${PROFILES[*]}")
    build_image
    mkdir -p "$RUN/hosts"
    local lock
    exec {lock}>"$RUN/lock"
    flock "$lock"

    local names=()
    [[ ! -e $RUN/names ]] || read -ra names <"$RUN/names"
    if is_whole "${names[@]}"; then
        shows_checkout
        [[ -z $count || $count == $((${#names[@]} - 1)) ]] ||
            die "the cluster is up with $((${#names[@]} - 1)) nodes: devcluster down first"
        [[ $with == "$running" ]] || die "the cluster is up with ${running:-no profile}: devcluster down first"
        [[ $(image_dirs) == "$(<"$RUN/image")" ]] ||
            say "the cluster runs with an older image: devcluster down, then up, gives it the new one"
        start_daemons "${names[@]}" {lock}>&-
    else
        ((${#names[@]} == 0)) || say "a host of the cluster is gone: starting it anew"
        : "${count:=$((${#names[@]} > 1 ? ${#names[@]} - 1 : 2))}"
        names=(login)
        for ((node = 1; node <= count; node++)); do names+=("node$node"); done
        # A cluster that came up by half is worse than none; so is what an `up` that was killed left.
        trap 'say "could not start: taking it down again"; take_down || true' EXIT
        trap 'exit 130' INT TERM HUP
        take_down
        start_hosts "${names[@]}" {lock}>&-
        start_daemons "${names[@]}" {lock}>&-
        trap - EXIT INT TERM HUP
    fi
    install_project {lock}>&-
    say "up: ${names[*]}"
}

# is_whole HOST…: does every host that was started still run?
is_whole() {
    local host
    recorded_pid "$RUN/switch.pid" || return 1
    for host; do
        recorded_pid "$RUN/hosts/$host.pid" || return 1
    done
}

start_hosts() {
    local data cgroup lower host switch
    data=$(cluster_data)
    cgroup=$(cluster_cgroup)
    lower=$(image_dirs)
    printf '%s\n' "$*" >"$RUN/names"
    (IFS=, && echo "${PROFILES[*]}") >"$RUN/profiles"
    printf '%s\n' "$lower" >"$RUN/image"

    say "starting the hosts: $*"
    make_cgroup "$cgroup"
    in_cgroup "$cgroup" -- setsid unshare --pid --net --fork --kill-child -- "$HERE/libexec/switch" "$RUN/switch.pid" "$SUBNET.1" \
        </dev/null >"$RUN/switch.log" 2>&1 &
    disown
    wait_until 10 recorded_pid "$RUN/switch.pid" || die "the switch did not start: $(<"$RUN/switch.log")"
    recorded_pid "$RUN/switch.pid"
    switch=$REPLY

    make_homes "$data/home" "${lower##*:}"
    mkdir -p "$data/docker"
    for host; do
        mkdir -p "$data/$host"/{upper/etc/slurm,work,root}
        write_host_files "$data/$host/upper" "$host" "$@"
        make_cgroup "$cgroup/$host"
        make_v1_groups "$host"
        in_cgroup "$cgroup/$host" "${V1_GROUPS[@]}" -- setsid nsenter --target "$switch" --pid -- \
            unshare --mount --uts --ipc --net --pid --cgroup --fork --kill-child -- \
            "$HERE/libexec/host-init" "$host" "$lower" "$data" "$RUN" "$CHECKOUT" \
            </dev/null >"$RUN/hosts/$host.log" 2>&1 &
        disown
    done
    for host; do
        wait_until 10 recorded_pid "$RUN/hosts/$host.pid" || die "$host did not start: $(<"$RUN/hosts/$host.log")"
        recorded_pid "$RUN/hosts/$host.pid"
        echo "$REPLY" >"$cgroup/$host/init/cgroup.procs"
        plug "$host" "$switch" "$REPLY"
    done
}

# in_cgroup GROUP… -- CMD…: becomes CMD inside these groups. A cgroup namespace that CMD makes has them as its roots.
in_cgroup() {
    while [[ $1 != -- ]]; do
        echo "$BASHPID" >"$1/cgroup.procs"
        shift
    done
    shift
    exec "$@"
}

make_homes() {
    local home=$1 skel=$2/etc/skel name uid
    # Where etc/slurm-cscrun/scrun.lua carries what docker has on login alone.
    install -d -m 1777 "$home/.cscrun"
    for name in alice:2000 bob:2001; do
        IFS=: read -r name uid <<<"$name"
        install -d -m 700 -o "$uid" -g "$uid" "$home/$name"
        install -m 644 -o "$uid" -g "$uid" "$skel"/.[!.]* "$home/$name/"
    done
}

# What differs from host to host or with their number, into a host's upper directory.
write_host_files() {
    local etc=$1/etc host=$2
    profile_files "$1"
    shift 2
    printf '%s\n' "$host" >"$etc/hostname"
    hosts_file "$@" >"$etc/hosts"
    printf 'nameserver %s.1\n' "$SUBNET" >"$etc/resolv.conf"
    printf 'NodeName=node[1-%d] CPUs=16 Sockets=2 CoresPerSocket=8 ThreadsPerCore=1 RealMemory=8000 Gres=gpu:a100:2,gpu:v100:2 Feature=fake State=UNKNOWN\n' $(($# - 1)) >"$etc/slurm/nodes.conf"
    if [[ $host != login ]]; then
        install -m 755 "$CHECKOUT"/etc/{epilog,prolog} "$etc/slurm/"
    fi
}

cmd_down() {
    [[ -d $RUN ]] || return 0
    local lock
    exec {lock}>"$RUN/lock"
    flock "$lock"
    take_down || die "something of the cluster is left: see $(cluster_cgroup)"
    remove_tree "$RUN"
    say "down"
}

# The switch's pid namespace contains every host's: all processes end with it, and with them all mounts and networks.
take_down() {
    local file
    ! recorded_pid "$RUN/switch.pid" || kill -KILL "$REPLY"
    remove_cgroups "$(cluster_cgroup)" || return 1
    for file in "$RUN"/switch.* "$RUN/names" "$RUN/image" "$RUN/profiles" "$RUN/hosts"/*; do rm -f "$file"; done
    remove_tree "$(cluster_data)"
}
