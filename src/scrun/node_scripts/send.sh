# Tell whether anything has changed, and send the changes; way_back.py lists the orders on stdin and the answers. It
# follows enter.sh, go_to.sh and reach.sh. Arguments from the fourth on: which extended attributes; directories in rootfs
# to remove if they are empty, one a line; the parts.
#
# The stream is an archive: "gone" (the removed names), new and changed files, and "end". The line "sent" follows it if tar
# could read all of them. A change shows in the ctime, which the container's user can't set. A new pair of inode and name
# is a renamed file or directory, whose ctime may be old. A node that fails waits for the end of stdin, because Slurm may
# kill the others' tasks when one ends with an error (KillOnBadExit). From the first stream on, failures are told on
# stderr: another node may be sending through srun.
xattrs=$1 left=$2; shift 2
trap 'cat >/dev/null' EXIT
full() { refuse "$base/$name: No space left on device"; }
enter
cd -- "./$name" && [ -e before ] || refuse "$base/$name: is not complete"
[ -z "$left" ] || printf '%s\n' "$left" | {
    there=$PWD/rootfs
    set --
    while IFS= read -r one; do
        one=$there/$one
        # The container may have put a link in the way.
        [ -d "$one" ] && cd -P -- "${one%/*}" && [ "$PWD" = "${one%/*}" ] && set -- "$@" "$one"
    done
    [ $# = 0 ] || exec rmdir -- "$@"
} 2>/dev/null
# What isn't in the list would be taken for files that are gone, so all of it must be readable.
said=$(exec $root find "$@" -ignore_readdir_race \( -path '*/*' -fprintf after '%i %p\0' -o -true \) \
    \( -type c -fprintf devices '%p\0' -o -true \) -cnewer marker -fprintf changed '%p\0' -fprintf sizes '%s\n' 2>&1) || {
    head -c 65536 /dev/zero >room || full
    refuse "$base/$name: can't be looked through: $said"
}
# Where there is no overlay, the container has set overlayfs's attributes itself, and they hide nothing.
marks='*.overlay.*'
[ ! -d l ] || marks=
archive() {
    $root tar --create --file=- --format=posix --pax-option=delete=atime,delete=ctime --null --no-recursion \
        --numeric-owner --sparse --xattrs --xattrs-include="$xattrs" \
        ${marks:+"--xattrs-exclude=$marks"} gone --files-from=all
    set -- $?
    [ "$1" -le 1 ] || { echo "$host: tar ended with status $1" >&2; return "$1"; }
}
if [ ! -s changed ] && { [ ! -s after ] && [ ! -s before ] || cmp -s before after 2>/dev/null; }; then
    state=unchanged
    say unchanged
else
    state=changed
    sort -z -o before before && sort -z -o after after || full
    comm -z -13 before after | cut -z -d' ' -f2- | sort -z -u - changed >all || full
    comm -z -23 before after | cut -z -d' ' -f2- | sort -z | comm -z -23 - all >gone || full
    # How much it is about, a kilobyte more for each file; unknown where there is more than find has counted.
    bytes=0
    while [ "$bytes" -lt 300000 ] && read -r size; do bytes=$((bytes + size + 1024)); done <sizes
    [ "$(stat -c %s changed)" = "$(stat -c %s all)" ] || bytes=unknown
    if [ -d l ] && [ -s devices ]; then
        # rootfs is what lies over an image's layers: what the container has removed of that is a whiteout,
        # device 0:0, in it.
        $root xargs -0 stat --printf='%t:%T %n\0' -- <devices | sed -z -n 's/^0:0 //p' | sort -z >hidden || full
        comm -z -12 all hidden | sed -z 's,^rootfs/,./,' >removed || full
        for one in l/*; do
            [ ! -d "$one/" ] ||
                (cd "$one/" && $root xargs -0 -r sh -c 'find "$@" -printf "%p\0"' sh 2>/dev/null) <removed
        done | sed -z 's,^\./,rootfs/,' | sort -z -u >>gone || full
        comm -z -23 all hidden >shown && mv shown all || full
    fi
    : >end && printf 'end\0' >>all || full
    say "changed $bytes"
fi
while read -r order one two; do
    case $order in
        reach)
            [ "$state" = changed ] || continue
            reach "$one" "$two"
            case $? in
                0) state=sent; say reached; { archive && say sent; } >&3; exec 3>&- ;;
                124) say "unreachable silent" ;;
                *) say unreachable ;;
            esac
            ;;
        send)
            [ "$one" = "$host" ] || continue
            say archive
            archive && say sent || say lost
            ;;
        remove)
            trap - EXIT
            drop >&2
            exit
            ;;
    esac
done
