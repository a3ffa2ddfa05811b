# The kernel's file systems for a new root. Sourced by the two scripts in libexec, in a mount namespace of their own.
# shellcheck shell=bash

# A tree's /dev is always its own tmpfs with its own nodes. The machine's is never bound into one: whoever removed
# such a tree would remove the machine's device nodes.
mount_dev() {
    local dev=$1/dev node
    mount -t tmpfs -o mode=755,nosuid tmpfs "$dev"
    for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 fuse:10:229; do
        make_node "$dev" "$node"
    done
    mkdir -p "$dev/net" "$dev/pts" "$dev/shm" "$dev/mqueue"
    make_node "$dev/net" tun:10:200
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$dev/pts"
    mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$dev/shm"
    ln -s pts/ptmx "$dev/ptmx"
    ln -s /proc/self/fd "$dev/fd"
    ln -s /proc/self/fd/0 "$dev/stdin"
    ln -s /proc/self/fd/1 "$dev/stdout"
    ln -s /proc/self/fd/2 "$dev/stderr"
}

# make_node DIR NAME:MAJOR:MINOR
make_node() {
    local name major minor
    IFS=: read -r name major minor <<<"$2"
    mknod -m 666 "$1/$name" c "$major" "$minor"
}

mount_proc_sys() {
    mount -t proc -o nosuid,nodev,noexec proc "$1/proc"
    mount -t sysfs -o nosuid,nodev,noexec sysfs "$1/sys"
}
