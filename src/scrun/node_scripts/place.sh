# Receive a node's files; place.py lists the orders on stdin and the answers. It follows enter.sh, images.sh, try.sh
# and reach.sh.
#
# Arguments: those of enter.sh, then CACHE_DIR; the cache's limit in KB (-1: the default); whether an overlay may be used
# (yes, no, or try); the trial of the node's runtime (its shell words, and a config); which extended attributes; and the
# parts whose changes will be brought back. A stream that isn't read to its end leaves nothing. tar is stopped after 200
# lines of errors, because it goes on when the disk is full.
cache=$1 limit=$2 may_overlay=$3 runtime=$4 trial=$5 xattrs=$6; shift 6
tried= new= image= images= state=
leave() {
    [ -n "$home" ] || return
    holder=$(readlink -- "$home/$name~")
    [ "${holder:-$host}" = "$host" ] && drop 2>/dev/null
    [ -z "$new" ] || { cd -P -- "$images" && remove "$new"; }
}
take() {  # from descriptor 3, into the working directory
    said=$({
        tar --extract --file=- --blocking-factor=512 --ignore-zeros --preserve-permissions --numeric-owner \
            --delay-directory-restore --xattrs --xattrs-include="$xattrs" --warning=no-timestamp <&3 2>&1
        echo "status $?"
    } | head -n 200)
    exec 3<&-
    case $said in
        *"status 0") [ -e complete ] || refuse "$1: the transfer was cut short" ;;
        *"No space left on device"*) refuse "$1: No space left on device" ;;
        *"Disk quota exceeded"*) refuse "$1: Disk quota exceeded" ;;
        *) refuse "$1: $said" ;;
    esac
}
# A file of the image that the container has not: a whiteout (overlayfs), which leaves its directory's time as it was.
hide='for one do
    in=$(dirname "./$one") && facts=$(stat -c "%a %y" "$in") && chmod u+wx "$in" && mknod "./$one" c 0 0 &&
        chmod "${facts%% *}" "$in" && touch -d "${facts#* }" "$in" || exit 255
done'
# A directory may be closed to its own user; the delta gives the one above its mode again.
take_away='for one do
    chmod u+rwx -- "$(dirname -- "./$one")" || exit 255
    [ ! -d "./$one" ] || [ -h "./$one" ] || chmod -R u+rwX -- "./$one"
    rm -rf -- "./$one" || exit 255
done'
make_way='kind=$1; shift; for one do
    if [ -d "$one" ] && [ ! -h "$one" ]; then [ $kind = -d ] || rm -rf -- "$one"; else rm -f -- "$one"; fi
done'
# $1: the mount's options, without the container's own directories. fsconfig(2) takes no long one, mount(2) does.
can_overlay() {
    [ "$may_overlay" != no ] || return 1
    case $home$images in *[:,\\]*) return 1 ;; esac
    as=-m; [ "$uid" = 0 ] || as=-rm
    at=$home/$name
    LIBMOUNT_FORCE_MOUNT2=always unshare $as mount -t overlay -o "$1,upperdir=$at/rootfs,workdir=$at/work" \
        none "$at/root" 2>/dev/null || return
    [ "$may_overlay" = try ] || return 0
    may_overlay=no tried=no
    try_runtime "$at/try" "$runtime" "$trial" || return
    may_overlay=yes tried=yes
}
# Make the directories of an overlay over layers that lie here, and try it: layered_root.py. Arguments: the option that
# tells the kind, the short link, "own" or "-", and the layers. On failure there is a reason in $why.
lay() {
    kind=$1 short=$2 lower=$home/$2/top
    ! [ "$3" = own ] || lower=$lower:$home/$2/own
    shift 3
    make "$name/root" "$name/work" "$name/rootfs" "$name/l" "$name/l/top" "$name/l/own"
    why="$home/$short: can't be made"
    printf '%s\n' "$short" >"$home/$name/short" && ln -s -- "$name/l" "$home/$short" 2>/dev/null || return
    count=0
    for one do
        [ -d "$one/" ] && [ -x "$one/" ] || { why="$one: can't be used"; return 1; }
        ln -s -- "$one" "$home/$name/l/$count" || return
        lower=$lower:$home/$short/$count count=$((count + 1))
    done
    why="an overlay of $count layers can't be mounted"
    can_overlay "$kind,lowerdir=$lower"
}
arrive() {
    go_to "$parent" "$home_name" make || return 1
    home=$own
    claim
    [ ! -e "./$name" ] || clear_all 2>/dev/null
}
@LACKS@
[ -z "$lacks" ] || { say "bare $lacks"; exit 1; }
home=
trap leave EXIT
trap 'exit 143' HUP INT TERM
arrive || [ -n "$taken" ] || refuse "$why"
make() {
    cd -P -- "$home" && mkdir -- "$@" 2>/dev/null || refuse "$base/$name: can't be made"
}
while read -r order one two; do
    [ -n "$home" ] || [ "$order" = home ] || { say "elsewhere $why"; continue; }
    case $order in
        home)
            [ -z "$home" ] || drop 2>/dev/null
            home= home_name=$one base=${parent%/}/$one
            arrive || refuse "$why"
            say home
            ;;
        plain)
            state=plain
            [ -d "$home/$name" ] || make "$name"
            say plain
            ;;
        layers)
            [ -d "$home/$name" ] || make "$name"
            if lay $one $two; then say "layers yes $tried"
            else
                say "layers no $tried $why"
                rm -f -- "$home/$short"
                remove "$home/$name"
            fi
            ;;
        image)
            image=$one kilobytes=$two state=plain
            [ -d "$home/$name" ] || make "$name" "$name/root" "$name/work" "$name/rootfs"
            if go_to_images; then
                mode=copy
                printf '%s\n' "$images" >"$home/$name/images" || refuse "$base/$name: No space left on device"
                can_overlay "userxattr,lowerdir=$images" && mode=overlay
                if has "$image"; then state=have; say "have $mode $tried"
                elif make_room "$kilobytes"; then state=lacks; say "lacks $mode $tried"
                else say "plain $images: no room for $kilobytes KB"
                fi
            else say "plain $why"
            fi
            ;;
        reach)
            reach "$one" "$two"
            case $? in 0) say reached ;; 124) say "unreachable silent" ;; *) say unreachable ;; esac
            ;;
        fill)
            if [ $state = lacks ]; then
                # Under the lock, since without one of its own somebody who makes room takes it for a dead one's.
                cd -P -- "$images" && flock 9 && new=.new-$name.$host && mkdir -m 700 "$new" && exec 8>"$new/lock" &&
                    flock 8 && unlock && mkdir "$new/leases" && cd "$new" || refuse "$images: can't be written to"
                take "$images"
                rm -f complete
                { seal_of tree >seal && printf '%s\n' "$kilobytes" >size; } 2>/dev/null && [ -s size ] ||
                    refuse "$images: No space left on device"
            else exec 3<&-
            fi
            say filled
            ;;
        commit)
            if [ $state = lacks ]; then
                image=$one
                cd -P -- "$images" || refuse "$images: is gone"
                flock 9
                # Another job was quicker. What it made is as good, if it is whole.
                [ ! -e "$image/seal" ] || is_sealed "$image" || put_aside "$image"
                if [ -e "$image/seal" ]; then lease "$image"; unlock; remove "$new"
                else
                    mv -T -- "$new" "$image" && lease "$image" || refuse "$images/$image: can't be made"
                    unlock
                fi
                exec 8>&-
                new=
                make_room 0
            fi
            say kept
            ;;
        go) state=$one from=$two; break ;;
        *) refuse "no such order: $order" ;;
    esac
done
case $state in layers|overlay|copy|plain) ;; *) refuse "the transfer was cut short" ;; esac
cd -P -- "$home/$name" || refuse "$base/$name: is gone"
case $state in
    overlay) ln -s -- "$images/$image/tree" lower ;;
    copy) said=$($root cp -a --reflink=auto -- "$images/$image/tree/." rootfs 2>&1) || refuse "$base/$name: $said" ;;
esac
[ "$from" = connection ] || exec 3<&0  # another node may not have reached us
take "$base/$name"
if [ -s gone ]; then
    case $state in
        overlay) (cd rootfs && xargs -0 -r sh -c "$hide" sh) <gone ;;
        copy) (cd rootfs && $root xargs -0 -r sh -c "$take_away" sh) <gone ;;
    esac || refuse "$base/$name: what is gone can't be taken away"
fi
if [ -d delta ]; then
    # Over the copy; cp doesn't replace a directory by a file, nor a file by a directory.
    said=$({
        (cd delta && $root find . -type d -print0) | (cd rootfs && $root xargs -0 sh -c "$make_way" sh -d) &&
            (cd delta && $root find . ! -type d -print0) | (cd rootfs && $root xargs -0 -r sh -c "$make_way" sh -f) &&
            $root cp -a -- delta/. rootfs && remove delta
    } 2>&1) || refuse "$base/$name: $said"
fi
if [ $# -gt 0 ]; then
    : >marker
    $root find "$@" -printf '%i %p\0' >before
fi
trap - EXIT
say ok
