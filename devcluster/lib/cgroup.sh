# Each host has a cgroup of its own in the v2 hierarchy, which it sees as the root (a cgroup namespace).
# They also are the ledger of the cluster's processes: `down` is done when nothing is left in them.
# shellcheck shell=bash

cluster_cgroup() {
    local root
    root=$(findmnt --noheadings --first-only --types cgroup2 --output TARGET) ||
        die "this machine has no cgroup v2 hierarchy mounted"
    printf '%s/scrun-devcluster-%s\n' "$root" "$(cluster_id)"
}

cmd_cgroup() { cluster_cgroup; }

# The processes are kept in a leaf, since cgroup v2 enables controllers only below groups that hold none.
make_cgroup() { mkdir -p "$1/init"; }

# v1_groups: where the machine has them, the cluster's groups in each v1 hierarchy, for a profile that names controllers.
v1_groups() {
    local mount
    while read -r mount; do
        printf '%s/scrun-devcluster-%s\n' "$mount" "$(cluster_id)"
    done < <(findmnt --noheadings --types cgroup --output TARGET)
}

# make_v1_groups HOST: its groups of the controllers that the profiles name, into V1_GROUPS.
make_v1_groups() {
    local name controller group parent
    V1_GROUPS=()
    for name in "${PROFILES[@]}"; do
        [[ -e $HERE/profiles/$name/controllers ]] || continue
        while read -r controller; do
            group=$(v1_groups | grep "/$controller/") || die "profile $name: this machine has no v1 controller $controller"
            group=$group/$1
            mkdir -p "$group"
            V1_GROUPS+=("$group")
            [[ $controller != cpuset ]] || for parent in "${group%/*}" "$group"; do
                cat "$parent/../cpuset.cpus" >"$parent/cpuset.cpus"
                cat "$parent/../cpuset.mems" >"$parent/cpuset.mems"
            done
        done <"$HERE/profiles/$name/controllers"
    done
}

# Kills what is left in the cluster's groups, `exec`ed commands too, and removes them.
remove_cgroups() {
    local top=$1
    local group
    [[ ! -d $top ]] || echo 1 >"$top/cgroup.kill"
    for group in "$top" $(v1_groups); do
        wait_until 10 remove_emptied "$group" || return 1
    done
}

remove_emptied() {
    find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
    [[ ! -d $1 ]]
}
