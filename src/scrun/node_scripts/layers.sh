# A layer is the directory CACHE_DIR/scrun-UID/layers/NAME with: tree, the files; seal, the checksum of their listing;
# checked, the time (seconds since 1970) at which the seal was last found right; size, in KB; used, whose mtime is the
# last use; leases, with an empty file JOB-ID.HOST for each container that runs on the layer. A script holds the lock
# while it makes, leases or removes a layer. Layers are made in .new-*, whose own lock their maker holds while it lives,
# and removed as .old-*. A lease counts as long as Slurm knows the job.
#
# A seal is checked before the layer is used if that was not done for a day, because somebody who tidies up may have
# taken files away, or since the node has booted, because what was not yet on the disk is lost when a node dies; otherwise
# when the container has been answered for, if that was not done for ten minutes.
DAY=86400 SOON=600
seal_of() {
    $root find "$1" -printf '%P\0%y %m %U %G %s %T@ %C@ %i %l\0' | sort -z | sha256sum
}
is_sealed() { IFS= read -r seal <"$1/seal" && [ "$(seal_of "$1/tree")" = "$seal" ]; }
checks() { is_sealed "$1" && printf '%s\n' "$now" >"$1/checked"; }
# Whether $1 was checked less than $2 seconds ago, and not before the node has booted.
is_fresh() {
    IFS= read -r when <"$1/checked" || return 1
    case $when in ''|*[!0-9]*) return 1 ;; esac
    [ "$when" -le "$now" ] && [ $((now - when)) -lt "$2" ] && [ "$when" -gt "$booted" ]
} 2>/dev/null
go_to_layers() {
    [ -z "$layers" ] || { cd -P -- "$layers" && return; return 1; }
    now=${BASH_VERSION:+$EPOCHSECONDS} now=${now:-$(date +%s)}
    read -r up idle </proc/uptime
    booted=$((now - ${up%%.*}))
    if [ "$home" = "${cache%/}/scrun-$uid" ]; then
        cd -P -- "$home" && own=$home || return 1
    else
        go_to_own "$cache" make || return 1
    fi
    [ "$own" = "${own%/*}/scrun-$uid" ] || say "note $said: layers are kept in $own"
    [ -d layers ] || mkdir -m 700 layers 2>/dev/null
    cd -P layers 2>/dev/null || { why="$own/layers: can't be made"; return 1; }
    why="$own/layers: can't be used"
    [ "$PWD" = "$own/layers" ] && command -v flock >/dev/null && exec 9>>lock || return 1
    layers=$own/layers
}
unlock() { exec 9>&- && exec 9>>"$layers/lock"; }  # it is held by whoever has it open
lease() {
    [ -d "$1/leases" ] || mkdir -- "$1/leases"
    : >"$1/leases/$name.$host" && : >"$1/used"
}
# A container may still run on it, damaged as it is, so it is put aside.
put_aside() { aside=.old-$1-${name%%-*}.$host.$$; mv -T -- "$1" "$aside" && rm -f "$aside/leases/$name.$host"; }
# The layers among the arguments are leased; $lacks gets the numbers of those that are lacking, counted from 0.
lease_all() {
    lacks= number=0
    flock 9
    for one do
        case $one in
            /*|-) ;;
            *) [ -f "$one/seal" ] && lease "$one" || lacks=$lacks,$number ;;
        esac
        number=$((number + 1))
    done
    unlock
    number=0
    for one do
        case $one,$lacks, in
            /*|-*|*,"$number",*) ;;
            *) is_fresh "$one" $DAY || checks "$one" || { found_damaged "$one"; lacks=$lacks,$number; } ;;
        esac
        number=$((number + 1))
    done
    [ ! -f damaged ] || { say "note layers are damaged, and carried anew: $(tr '\n' ' ' <damaged)"; rm -f damaged; }
}
found_damaged() {
    flock 9
    is_sealed "$1" 2>/dev/null || put_aside "$1"  # another job may have put it aside, and made it anew
    printf '%s\n' "$1" >>damaged
    unlock
}
# Nobody waits for this any more. Arguments: as of lease_all.
look_after() {
    go_to_layers || return
    for one do
        [ ! -f "$one/leases/$name.$host" ] || is_fresh "$one" $SOON || checks "$one" || found_damaged "$one"
    done
    [ ! -d ../images ] || (jobs= && remove_images)
} 2>/dev/null
# Remove what scrun 0.2 and older kept: whole root filesystems, with leases and locks like those of layers.
remove_images() {
    cd -P ../images && [ "$PWD" = "${layers%/layers}/images" ] && exec 9>>lock && flock 9 || return
    for one in * .new-* .old-*; do
        [ -d "$one" ] && { [ ! -e "$one/lock" ] || flock -n "$one/lock" true; } && ! is_used "$one" && remove "$one"
    done
    [ "$(ls -A)" != lock ] || { rm -f lock && rmdir -- "$PWD"; }
}
ask_for_jobs() {
    # Without what the user has set for squeue, and with jobs in hidden partitions. A list without this job isn't whole.
    jobs=" $(
        unset SLURM_CLUSTERS $(env | sed -n 's/^\(SQUEUE_[A-Z0-9_]*\)=.*/\1/p')
        squeue --all --noheader --user="$uid" --format=%A 2>/dev/null | tr '\n' ' '
    ) "
    case $jobs in *" ${name%%-*} "*) ;; *) jobs=unknown ;; esac
}
is_used() {
    for held in "$1"/leases/*; do
        [ -e "$held" ] || return 1
        job=${held##*/}
        [ -n "$jobs" ] || ask_for_jobs
        case $jobs in unknown|*" ${job%%-*} "*) return 0 ;; esac
        rm -f -- "$held"  # its node died, or an Epilog tidied up
    done
    return 1
}
# Sets $size to that of the layer $1, in KB. A node that died may have left the file empty.
size_of() {
    IFS= read -r size <"$1/size" || return 1
    case $size in ''|*[!0-9]*) return 1 ;; esac
} 2>/dev/null
remove() { chmod -R u+rwX -- "$@"; rm -rf --one-file-system -- "$@"; } 2>/dev/null
# Remove what nobody uses, the longest unused first, until $1 KB more fit both into the limit and on the disk.
make_room() {
    jobs=
    flock 9
    for one in .new-*; do
        [ -d "$one" ] && { [ ! -e "$one/lock" ] || flock -n "$one/lock" true; } && mv -T -- "$one" ".old-$one.$$"
    done
    total=$1
    for one in */size; do size_of "${one%/size}" && total=$((total + size)); done
    for one in $(ls -tr -- */used 2>/dev/null); do
        fits "$1" "$total" && break
        one=${one%/used}
        is_used "$one" && continue
        size_of "$one" && total=$((total - size))
        mv -T -- "$one" ".old-$one.$$" && remove ".old-$one.$$"
    done
    unlock
    for one in .old-*; do [ ! -d "$one" ] || is_used "$one" || remove "$one"; done
    fits "$1" "$total"
}
# The limit is that of scrun.lua, else 10 GB or a quarter of the disk.
fits() {
    set -- "$1" "$2" $(df -kP . | tail -n 1)
    at_most=$limit
    [ "$at_most" -ge 0 ] || { at_most=$(($4 / 4)); [ "$at_most" -lt 10000000 ] || at_most=10000000; }
    [ "$2" -le "$at_most" ] && [ "$1" -lt "$6" ]
}
