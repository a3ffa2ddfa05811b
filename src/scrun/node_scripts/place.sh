# Receive a node's files; place.py lists the orders on stdin and the answers. It follows enter.sh, layers.sh, try.sh
# and reach.sh.
#
# Arguments, one a line of stdin before the orders (arguments.sh): those of enter.sh, then CACHE_DIR; the cache's limit
# in KB (-1: the default); whether an overlay may be used (yes, no, or try); the trial of the node's runtime (its shell
# words, and a config); which extended attributes; and the parts whose changes will be brought back. A stream that isn't
# read to its end leaves nothing. tar is stopped after 200 lines of errors, because it goes on when the disk is full.
cache=$1 limit=$2 may_overlay=$3 runtime=$4 trial=$5 xattrs=$6; shift 6
tried= new= layers= lacks= key= state=
as=-m; [ "$uid" = 0 ] || as=-rm
leave() {
    trap '' HUP INT TERM  # a step that is ended is told so more than once
    [ -n "$home" ] || return
    holder=$(readlink -- "$home/$name~")
    [ "${holder:-$host}" = "$host" ] && drop 2>/dev/null
    [ -z "$new" ] || { cd -P -- "$layers" && remove "$new"; }
}
unpack() {
    exec tar --extract --file=- --blocking-factor=512 --ignore-zeros --preserve-permissions --numeric-owner \
        --delay-directory-restore --xattrs --xattrs-include="$xattrs" --warning=no-timestamp -- "$@" 2>&1
}
# shellcheck disable=SC2123  # scrun-node takes a path for a container's init
relay() { (PATH=$home/$name/relay; exec scrun-node relay) 2>/dev/null; }
# Unpack a stream into the working directory. Arguments: star, the stream is descriptor 3; or tree, the relay gets it,
# and hands it on; or a number, it is so many bytes of stdin; for messages, the directory; what is wanted, or all.
# Otherwise $why is the reason, and $marks isn't empty if the file system can't have what a layer needs.
take() {
    way=$1 where=$2; shift 2
    case $way in
        tree) said=$({ printf '%s\n' "$key" | relay | unpack "$@"; echo "status $?"; } | head -n 200) ;;
        star) said=$({ (unpack "$@" <&3); echo "status $?"; } | head -n 200) ;;
        *) said=$(head -c "$way" | unpack "$@"; echo "status $?") ;;
    esac
    exec 3<&-
    # tar only warns where a file system has no such attribute. What an image has removed would be there again. In l/own
    # there is all that the directory hides.
    marks= why=
    case $said in
        *"overlay.opaque' extended attribute"*)
            marks=$(printf '%s\n' "$said" | grep -F "overlay.opaque' ext" | grep -vF "file 'l/own/" | head -n 1)
            why="$where: $marks"
            ;;
    esac
    [ -z "$marks" ] || return 1
    why=
    case $said in
        *"status 0") [ -e complete ] || why="$where: the transfer was cut short" ;;
        *"No space left on device"*) refuse "$where: No space left on device" ;;
        *"Disk quota exceeded"*) refuse "$where: Disk quota exceeded" ;;
        *) why="$where: $said" ;;
    esac
    [ -z "$why" ]
}
# $1: the options of an overlay's mount at the container's root. fsconfig(2) takes no long one, mount(2) does.
mounts() {
    LIBMOUNT_FORCE_MOUNT2=always unshare $as mount -t overlay -o "$1" none "$home/$name/root" 2>/dev/null
}
# $1: such options, without the container's own directories. Sets $mode.
try_overlay() {
    at=$home/$name mode=no
    case $home$layers in *[:,\\]*) return ;; esac
    if [ "$may_overlay" != no ] && mounts "$1,upperdir=$at/rootfs,workdir=$at/work"; then
        mode=overlay
        [ "$may_overlay" = try ] || return
        may_overlay=no tried=no
        try_runtime "$at/try" "$runtime" "$trial" && may_overlay=yes tried=yes && return
    fi
    mode=no
    ! mounts "$1" || mode=copy
}
# Lay layers over one another: layered_root.py. Arguments: the short link, the option that tells the kind, "own" or "-",
# and the layers, the topmost first: a path here, a name in the cache, or "-" for one that comes with the container's own
# files. The result is in $answer.
lay() {
    short=$1 kind=$2 own_files=$3; shift 3
    named="$*" answer= count=0 carried=
    for one do
        [ "$one" != - ] || carried="$carried $count"
        count=$((count + 1))
    done
    make_all $carried
    for one do
        case $one in
            -) ;;
            /*) [ -d "$one/" ] && [ -x "$one/" ] || { answer="layers lost - $one: can't be used"; return; } ;;
            *)
                go_to_layers && printf '%s\n' "$layers" >"$home/$name/layers" ||
                    { answer="layers no - ${why:-$base/$name: No space left on device}"; return; }
                ;;
        esac
    done
    lacks=
    [ -z "$layers" ] || lease_all "$@"
    printf '%s\n' "$short" >"$home/$name/short" && ln -s -- "$name/l" "$home/$short" 2>/dev/null ||
        { answer="layers no - $home/$short: can't be made"; return; }
    lower=$home/$short/top
    if [ -n "$lacks" ]; then
        # Nothing is carried that could not be used.
        try_overlay "$kind,lowerdir=$lower:$home/$short/own"
        [ $mode = no ] && answer="layers no $tried no overlay can be mounted" || answer="lacks ${lacks#,}"
        return
    fi
    ! [ "$own_files" = own ] || lower=$lower:$home/$short/own
    count=0
    for one do
        case $one in
            /*) ln -s -- "$one" "$home/$name/l/$count" ;;
            -) ;;
            *) ln -s -- "$layers/$one/tree" "$home/$name/l/$count" ;;
        esac || { answer="layers no - $home/$name/l: can't be written to"; return; }
        lower=$lower:$home/$short/$count count=$((count + 1))
    done
    lower=$kind,lowerdir=$lower
    try_overlay "$lower"
    answer="layers $mode $tried"
    [ $mode = no ] || return
    try_overlay "$kind,lowerdir=$home/$short/top:$home/$short/own"
    [ $mode = no ] && answer="layers no $tried no overlay can be mounted" ||
        answer="layers lost $tried an overlay of $count layers can't be mounted"
}
# Nothing that lay has made is left, but leases.
clear_layers() {
    [ -d "$home/$name/l" ] || return 0
    rm -f -- "$home/$short"
    (cd -P -- "$home/$name" && rm -rf -- root work rootfs l)
}
# Give the layer $1, which is complete, the name $2. If another job was quicker, what it made is as good if it is whole.
keep_layer() {
    [ ! -e "$2" ] || is_sealed "$2" 2>/dev/null || put_aside "$2" || refuse "$layers/$2: is damaged, and can't be removed"
    [ -e "$2" ] || mv -T -- "$1" "$2" || refuse "$layers/$2: can't be made"
    lease "$2"
}
# Remove what is left of what was being made.
drop_new() {
    [ -n "$new" ] || return 0
    cd -P -- "$layers" && remove "$new"
    new=
    exec 8>&-
}
# Make the directories of layers that come with the container's own files, and all that is beside them.
make_all() {
    for one do set -- "$@" "$name/l/$one"; shift; done
    set -- "$name/root" "$name/work" "$name/rootfs" "$name/l" "$name/l/top" "$name/l/own" "$@"
    [ -d "$home/$name" ] || set -- "$name" "$@"
    make "$@"
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
            drop_new
            [ -d "$home/$name" ] || make "$name"
            say plain
            ;;
        layers)
            clear_layers
            lay $one $two
            case $answer in "layers overlay"*|"layers copy"*) ;; *) clear_layers ;; esac
            say "$answer"
            ;;
        room)
            kilobytes=0 sizes=" $one $two "
            for one in $sizes; do
                case $lacks, in *,"${one%=*}",*) kilobytes=$((kilobytes + ${one#*=})) ;; esac
            done
            if [ -z "$lacks" ] || { go_to_layers && make_room "$kilobytes"; }; then say room
            else say "plain $layers: no room for $kilobytes KB"
            fi
            ;;
        reach)
            reach "$one" "$two"
            case $? in 0) say reached ;; 124) say "unreachable silent" ;; *) say unreachable ;; esac
            ;;
        relay)
            key=$one
            mkdir -p -- "$home/$name/relay" && head -c "$two" >"$home/$name/relay/scrun-node" &&
                chmod 700 "$home/$name/relay/scrun-node" || refuse "$base/$name: can't be written to"
            relay </dev/null >/dev/null
            [ $? -lt 126 ] && say relay || say "plain can't run"
            ;;
        fill)
            way=$one
            if [ -n "$lacks" ] && [ -z "$new" ]; then
                # Under the lock, since without one of its own somebody who makes room takes it for a dead one's.
                go_to_layers && flock 9 && new=.new-$name.$host && mkdir -m 700 "$new" && exec 8>"$new/lock" &&
                    flock 8 && unlock && cd "$new" || refuse "$layers: can't be written to"
                # What another node lacks is in the stream too.
                if ! take "$way" "$layers" complete $(printf %s "$lacks" | tr , ' '); then
                    [ "$way" = tree ] || [ -n "$marks" ] || refuse "$why"
                    drop_new
                    answer=${marks:+plain} answer=${answer:-cut}
                    say "$answer $(printf %s "$why" | tr '\n' ';' | cut -c1-300)"
                    continue
                fi
                for one in $(printf %s "$lacks" | tr , ' '); do
                    size=${sizes#*" $one="}
                    {
                        mkdir "$one/leases" && seal_of "$one/tree" >"$one/seal" && printf '%s\n' "$now" >"$one/checked" &&
                            printf '%s\n' "${size%% *}" >"$one/size"
                    } 2>/dev/null && [ -s "$one/size" ] || refuse "$layers: No space left on device"
                done
            else exec 3<&-
            fi
            say filled
            ;;
        commit)
            if [ -n "$lacks" ]; then
                go_to_layers || refuse "$why"
                flock 9
                for one in $one $two; do
                    case $lacks, in *,"${one%=*}",*) keep_layer "$new/${one%=*}" "${one#*=}" ;; esac
                done
                unlock
                drop_new
                make_room 0
            fi
            say kept
            ;;
        go) state=$one from=$two; break ;;
        *) refuse "no such order: $order" ;;
    esac
done
case $state in overlay|copy|plain) ;; *) refuse "the transfer was cut short" ;; esac
cd -P -- "$home/$name" || refuse "$base/$name: is gone"
case $from in
    connection) from=star ;;
    stdin) exec 3<&0; from=star ;;  # another node may not have reached us
esac
take "$from" "$base/$name" || refuse "$why"
if [ $state = copy ]; then
    said=$(LIBMOUNT_FORCE_MOUNT2=always unshare $as sh -c \
        'mount -t overlay -o "$1" none root && cp -a -- root/. rootfs' sh "$lower" 2>&1) || refuse "$base/$name: $said"
    rm -rf -- "$home/${short:?}" l
fi
if [ $# -gt 0 ]; then
    : >marker
    if [ $state = overlay ] && [ "$*" = rootfs ]; then : >before
    else $root find "$@" -path '*/*' -printf '%i %p\0' >before  # the root directory itself is never another one
    fi
fi
trap - EXIT
say ok
[ "$two" != stdin ] || { [ -z "$layers" ] || look_after $named; exit; }
# Stay for the container's end. The lock is of who has opened it, so that nobody but this child holds it.
[ -z "$layers" ] || { unlock && look_after $named; } </dev/null >/dev/null 2>&1 &
if read -r order && [ "$order" = fetch ] && IFS= read -r -d '' left; then
    trap - HUP INT TERM
    send_changes "$xattrs" "$left" "$@"
fi
wait
