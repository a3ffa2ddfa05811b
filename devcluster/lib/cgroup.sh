# Each host has a cgroup of its own in the v2 hierarchy, which it sees as the root (a cgroup namespace).
# They also are the ledger of the cluster's processes: `down` is done when nothing is left in them.
# shellcheck shell=bash

cluster_cgroup() {
    local root
    root=$(findmnt --noheadings --first-only --types cgroup2 --output TARGET) ||
        die "this machine has no cgroup v2 hierarchy mounted"
    printf '%s/scrun-devcluster-%s\n' "$root" "$(cluster_id)"
}

# The processes are kept in a leaf, since cgroup v2 enables controllers only below groups that hold none.
make_cgroup() { mkdir -p "$1/init"; }

# Kills what is left in the cluster's groups, `exec`ed commands too, and removes them.
remove_cgroups() {
    local top=$1
    [[ -d $top ]] || return 0
    echo 1 >"$top/cgroup.kill"
    wait_until 10 remove_emptied "$top"
}

remove_emptied() {
    find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
    [[ ! -d $1 ]]
}
