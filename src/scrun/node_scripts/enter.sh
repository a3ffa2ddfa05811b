# The beginning of every script that works in a container's directory; $mark is set before it, and go_to.sh follows.
#
# Arguments: NODE_DIR, the name below it (empty: scrun-UID), the name below that, and the script's own. A line on stdout
# with the mark tells the result; it is short enough that srun doesn't cut it. On stderr the script's words begin at the
# mark. `drop` also removes files that a container has made unwritable; rm and chmod -R follow no links, and rm stays on
# the file system. The scripts use the shell's own commands where they can, because each program takes a millisecond to
# start, and somebody waits.
LC_ALL=C; export LC_ALL; umask 077; unset TAR_OPTIONS POSIXLY_CORRECT
host=${SLURMD_NODENAME:-$(uname -n)} uid=${BASH_VERSION:+$EUID}
uid=${uid:-$(id -u)}
parent=$1 home_name=${2:-scrun-$uid} name=$3 home=
base=${1%/}/$home_name
shift 3
printf '\n%s> \n' "$mark" >&2
say() { printf '\n%s> %s %s\n' "$mark" "$host" "$1"; }
refuse() { say "bad $(printf %s "$1" | tr '\n' ';' | cut -c1-600)"; exit 1; }
enter() {
    [ -z "$home" ] || { cd -P -- "$home" && return; }  # it is ours alone, so that nobody has put another in its place
    go_to "$parent" "$home_name" || refuse "$why"
    home=$own
}
# Node directories that are one: only the first node gets the claim, which is made with its name in it at once. Its own
# name begins as the directory's, for a site's Epilog to catch both; no container's id has a tilde.
claim() {
    ln -s -- "$host" "./$name~" 2>/dev/null && return
    holder=$(readlink -- "./$name~") && [ "$holder" != "$host" ] || return 0
    refuse "$parent: is shared with $holder: name a node_dir in scrun.lua that each node has for itself"
}
drop() {
    clear_all "./$name~"
    set -- $?
    [ "$home_name" = "scrun-$uid" ] || rmdir -- "$home" 2>/dev/null
    return $1
}
# $1: what else to remove, before it.
clear_all() {
    cd -P -- "$home" || return
    if [ -f "./$name/layers" ] && IFS= read -r layers <"./$name/layers"; then
        # What was being made for it: place.py. It goes first, because nothing else knows of it (srun kills a script that
        # tidies up). Then its leases of the layers that it used.
        made=$layers/.new-$name.$host
        [ ! -e "$made" ] || rm -rf --one-file-system -- "$made" 2>/dev/null ||
            { chmod -R u+rwX -- "$made"; rm -rf --one-file-system -- "$made"; } || return
        set -- "$@" "$layers"/*/leases/"$name.$host"
    fi
    if [ -f "./$name/short" ] && IFS= read -r short <"./$name/short"; then
        set -- "$@" "./$short"  # a link to what is in it: place.sh
    fi
    rm -rf --one-file-system -- "$@" "./$name" 2>/dev/null && return
    chmod -R u+rwX -- "./$name"; rm -rf --one-file-system -- "$@" "./$name"
}
# Root of a user namespace reads what the container has made unreadable (mode 000); the container could as well.
root=
[ "$uid" = 0 ] || { unshare -r true 2>/dev/null && root='unshare -r'; }
