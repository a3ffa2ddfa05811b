# Send the changes. Arguments from the fourth on: which extended attributes; directories in rootfs to remove if they are
# empty, one a line; the parts. After the first line of output comes the line "unchanged", or an archive: "gone" (the
# removed names), new and changed files, and "end".
#
# A change shows in the ctime, which the container's user can't set. A new pair of inode and name is a renamed file or
# directory, whose ctime may be old. When this host answers "remove", the container's directory is removed.
xattrs=$1 left=$2; shift 2
refuse() { echo "$host: $1" >&2; exit 1; }  # stdout is the archive's
enter
cd -- "./$name" && [ -e before ] || refuse "$base/$name: is not complete"
say changes
[ -z "$left" ] || printf '%s\n' "$left" | while IFS= read -r one; do
    one=$PWD/rootfs/$one
    # The container may have put a link in the way.
    (cd -P -- "${one%/*}" && [ "$PWD" = "${one%/*}" ] && rmdir -- "$one") 2>/dev/null
done
$root find "$@" -fprintf after '%i %p\0' \( -type c -fprintf devices '%p\0' -o -true \) \
    -cnewer marker -fprintf changed '%p\0' >&2
if [ ! -s changed ] && cmp -s before after 2>/dev/null; then
    echo unchanged
else
    sort -z -o before before
    sort -z -o after after
    comm -z -13 before after | cut -z -d' ' -f2- >>changed
    sort -z -u -o changed changed
    comm -z -23 before after | cut -z -d' ' -f2- | sort -z | comm -z -23 - changed >gone
    if { [ -h lower ] || [ -d l ]; } && [ -s devices ]; then
        # rootfs is what lies over an image, or over its layers: what the container has removed of that is a whiteout,
        # device 0:0, in it.
        $root xargs -0 stat --printf='%t:%T %n\0' -- <devices | sed -z -n 's/^0:0 //p' | sort -z >hidden
        comm -z -12 changed hidden | sed -z 's,^rootfs/,./,' >removed
        for one in lower l/*; do
            [ ! -d "$one/" ] ||
                (cd "$one/" && $root xargs -0 -r sh -c 'find "$@" -printf "%p\0"' sh 2>/dev/null) <removed
        done | sed -z 's,^\./,rootfs/,' | sort -z -u >>gone
        comm -z -23 changed hidden >shown && mv shown changed
    fi
    : >end
    printf 'end\0' >>changed
    $root tar --create --file=- --format=posix --pax-option=delete=atime,delete=ctime --null --no-recursion \
        --numeric-owner --sparse --xattrs --xattrs-include="$xattrs" gone --files-from=changed
    status=$?
    [ $status -le 1 ] || exit $status
fi
read -r answer
[ "$answer" != remove ] || drop >&2
