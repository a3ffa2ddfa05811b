# Slurm, docker and what they need, on each host; and their status and logs.
# shellcheck shell=bash

# start_daemons LOGIN NODE…: all at once. Each boot script leaves alone what runs already.
start_daemons() {
    local node user pids=() pid
    say "starting the daemons"
    boot_host login login
    boot login alice rootless-docker.sh
    for node in "${@:2}"; do
        boot_host "$node" node &
        pids+=($!)
    done
    for user in root alice bob; do
        boot login "$user" images.sh >/dev/null &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid" || die "a daemon did not start: devcluster logs"
    done
    resume_nodes
    wait_until 30 nodes_are_up || die "the nodes do not come up: devcluster logs"
}

# boot_host HOST login|node
boot_host() {
    boot "$1" root munge.sh
    boot_profiles "$1" "$2"
    boot "$1" root "$2.sh"
}

# boot HOST USER SCRIPT
boot() { in_host "$1" "$2" bash -s <"$HERE/boot/$3"; }

nodes_are_up() {
    local states
    states=$(node_states) && [[ $states ]] && ! grep -qvE ' (idle|mixed|allocated|completing)$' <<<"$states"
}

# Those that Slurm took out of service: a test that failed, or a machine that slept.
resume_nodes() {
    local drained
    drained=$(in_host login root sinfo --noheader --states=drain,down --format '%N' 2>/dev/null) && [[ $drained ]] || return 0
    in_host login root scontrol update "NodeName=${drained//$'\n'/,}" State=RESUME >/dev/null 2>&1 || true
}

node_states() { in_host login root sinfo --noheader --Node --partition debug --format '%N %T'; }

# One line per daemon: host, daemon, state. What can be asked is asked, rather than believed to work because it runs.
cmd_status() {
    local host names states bad=0
    host_pid login
    read -ra names <"$RUN/names"
    for host in "${names[@]}"; do
        ! uses_munge || answers "$host" munged root sh -c 'munge -n | unmunge' || bad=1
        if [[ $host == login ]]; then
            answers login slurmctld root scontrol ping || bad=1
            answers login dockerd root docker image inspect localhost/busybox || bad=1
            answers login dockerd-alice alice docker image inspect localhost/busybox || bad=1
            answers login podman alice podman image exists localhost/busybox || bad=1
            answers login scrun root test -x /usr/bin/scrun || true
        else
            # slurmctld notices a lost node only after minutes.
            states=''
            ! host_is_up "$host" || states=$(node_states 2>/dev/null) || true
            report "$host" slurmd "$(awk -v host="$host" '$1 == host { print $2 }' <<<"$states")" || bad=1
        fi
    done
    return "$bad"
}

uses_munge() {
    host_pid login
    grep -q ^AuthType=auth/munge "/proc/$REPLY/root/etc/slurm/slurm.conf"
}

# answers HOST DAEMON USER CMD…: reports the daemon as up when CMD succeeds there.
answers() {
    local host=$1 daemon=$2 user=$3 state=up
    shift 3
    host_is_up "$host" && in_host "$host" "$user" timeout 5 "$@" >/dev/null 2>&1 </dev/null || state=down
    report "$host" "$daemon" "$state"
}

host_is_up() { recorded_pid "$RUN/hosts/$1.pid"; }

report() {
    printf '%-8s %-14s %s\n' "$1" "$2" "${3:-down}"
    [[ $3 =~ ^(up|idle|mixed|allocated|completing)$ ]]
}

cmd_logs() {
    local host names
    host_pid login
    read -ra names <"$RUN/names"
    for host in "${names[@]}"; do
        # shellcheck disable=SC2016
        in_host "$host" root sh -c '
            for file in /var/log/slurm/slurm*.log /var/log/dockerd.log /home/alice/.local/share/dockerd.log; do
                case $file in /home/*) [ "$(hostname)" = login ] || continue ;; esac
                [ ! -s "$file" ] || { echo "== $(hostname):$file"; tail -n 100 "$file"; }
            done'
    done
}
