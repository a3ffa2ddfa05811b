# An image is the directory CACHE_DIR/scrun-UID/images/NAME with: tree, the files; seal, the checksum of their listing;
# size, in KB; used, whose mtime is the last use; leases, with an empty file JOB-ID.HOST for each container that runs on
# the image. A script holds the lock while it makes, leases or removes an image. An image is made as .new-*, whose own
# lock its maker holds while it lives, and removed as .old-*. A lease counts as long as Slurm knows the job.
seal_of() {
    $root find "$1" -printf '%P\0%y %m %U %G %s %T@ %C@ %i %l\0' | sort -z | sha256sum
}
is_sealed() { IFS= read -r seal <"$1/seal" && [ "$(seal_of "$1/tree")" = "$seal" ]; }
go_to_images() {
    go_to_own "$cache" make || return 1
    [ "$own" = "${own%/*}/scrun-$uid" ] || say "note $said: images are kept in $own"
    [ -d images ] || mkdir -m 700 images 2>/dev/null
    cd -P images 2>/dev/null || { why="$own/images: can't be made"; return 1; }
    images=$own/images
    [ "$PWD" = "$images" ] && command -v flock >/dev/null && exec 9>>lock && return
    why="$images: can't be used"
    return 1
}
unlock() { exec 9>&- && exec 9>>"$images/lock"; }  # it is held by whoever has it open
lease() {
    : >"$1/leases/$name.$host" && : >"$1/used"
}
# A container may still run on it, damaged as it is, so it is put aside.
put_aside() { mv -T -- "$1" ".old-$1-$name.$host.$$" && rm -f ".old-$1-$name.$host.$$/leases/$name.$host"; }
has() {
    flock 9
    [ -f "$1/seal" ] && lease "$1" || { unlock; return 1; }
    unlock
    is_sealed "$1" && return
    flock 9; put_aside "$1"; unlock
    say "note image $1 is damaged, and made anew"
    return 1
}
ask_for_jobs() {
    jobs=$(squeue --noheader --user="$uid" --format=%A 2>/dev/null) && jobs=" $(printf %s "$jobs" | tr '\n' ' ') " ||
        jobs=unknown
}
is_used() {
    for held in "$1"/leases/*; do
        [ -e "$held" ] || return 1
        job=${held##*/}
        [ -n "$jobs" ] || ask_for_jobs
        case $jobs in unknown|*" ${job%%-*} "*) return 0 ;; esac
    done
    return 1
}
remove() { chmod -R u+rwX -- "$@"; rm -rf --one-file-system -- "$@"; } 2>/dev/null
# Remove what nobody uses, the longest unused first, until $1 KB more fit both into the limit and on the disk.
make_room() {
    jobs=
    flock 9
    for one in .new-*; do
        [ -d "$one" ] && { [ ! -e "$one/lock" ] || flock -n "$one/lock" true; } && mv -T -- "$one" ".old-$one.$$"
    done
    total=$1
    for one in */size; do [ ! -f "$one" ] || total=$((total + $(cat "$one"))); done
    for one in $(ls -tr -- */used 2>/dev/null); do
        fits "$1" "$total" && break
        one=${one%/used}
        is_used "$one" && continue
        total=$((total - $(cat "$one/size")))
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
