# A host: its namespaces, held by a small init, and the way into them.
# shellcheck shell=bash

host_pid() {
    recorded_pid "$RUN/hosts/$1.pid" && return
    [[ -e $RUN/switch.pid ]] || die "no cluster is up (devcluster up)"
    die "no host $1 is up; there are: $(host_names)"
}

host_names() {
    local names
    read -r names <"$RUN/names" && printf '%s\n' "$names"
}

# enter HOST USER CMD…: sets ENTER to the command line that runs CMD there, in an environment like a login's, and
# CGROUP to the file that takes the pid of who runs it. No forks: tests call exec a great deal.
enter() {
    local host=$1 user=$2 pid name uid gid home shell
    shift 2
    host_pid "$host"
    pid=$REPLY
    while IFS=: read -r name _ uid gid _ home shell; do
        [[ $name != "$user" ]] || break
    done <"/proc/$pid/root/etc/passwd"
    [[ $name == "$user" ]] || die "no user $user on $host"
    (($#)) || set -- "$shell" -l

    CGROUP=/proc/$pid/root/sys/fs/cgroup/init/cgroup.procs
    ENTER=(
        nsenter --target "$pid" --mount --uts --ipc --net --pid --cgroup --
        # Who ends `devcluster exec`, as timeout(1) does, means the command.
        setpriv "--reuid=$uid" "--regid=$gid" --init-groups --pdeathsig TERM --
        env -i -C "$home" "HOME=$home" "USER=$user" "LOGNAME=$user" "SHELL=$shell" "TERM=${TERM:-dumb}" LANG=C.UTF-8
        PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin "XDG_RUNTIME_DIR=/run/user/$uid"
        "$@"
    )
}

# in_host HOST USER CMD…
in_host() (
    enter "$@"
    echo "$BASHPID" >"$CGROUP"
    exec "${ENTER[@]}"
)

cmd_exec() {
    local host=login user=root
    while (($#)); do
        case $1 in
            --host | --user) (($# > 1)) || die "exec: $1 needs a name" ;;&
            --host) host=$2 && shift 2 ;;
            --host=*) host=${1#*=} && shift ;;
            --user) user=$2 && shift 2 ;;
            --user=*) user=${1#*=} && shift ;;
            --) shift && break ;;
            -*) die "exec: unknown option $1" ;;
            *) break ;;
        esac
    done
    enter "$host" "$user" "$@"
    echo $$ >"$CGROUP"
    exec "${ENTER[@]}"
}
