# $uid is the user's id. `go_to DIRECTORY NAME [make]` enters the user's own directory NAME in DIRECTORY; if NAME ends
# with XXXXXXXX, mktemp completes it. Then $own is its path. Otherwise $why is the reason, and $taken is not empty if
# another user's directory, or another kind of file, has the name.
#
# `go_to_own DIRECTORY [make]` enters the directory that all containers of the user share: scrun-UID or, if that name is
# taken, scrun-UID-own-XXXXXXXX, an existing one or a new one.
go_to() {
    own= why= taken=
    cd -P -- "$1" 2>/dev/null || { why="$1: no such directory"; return 1; }
    case $2$3 in
        *XXXXXXXXmake)
            made=$(mktemp -d -- "$2" 2>&1) || { why="$1: $made"; return 1; }
            set -- "$1" "$made"
            ;;
        *make) [ -d "./$2" ] || why=$(mkdir -m 700 -- "./$2" 2>&1) ;;
    esac
    [ -e "./$2" ] || [ -h "./$2" ] || { why=${why:-$1/$2: no such directory}; return 1; }
    taken=1 why="${1%/}/$2: is not a directory of user $uid alone (mode 700)"
    there=${PWD%/}/$2
    cd -P -- "./$2" 2>/dev/null && [ "$PWD" = "$there" ] || return 1
    set -- "$1" $(exec stat -c '%u %a' .. . 2>/dev/null)
    case "$4 $5" in "$uid 700"|"$uid "?700) ;; *) return 1 ;; esac  # ?: a directory takes the setgid bit of that above
    taken=
    # Whoever can write to the directory above can put something else in this one's place, unless that is sticky; its
    # owner always can.
    case $3 in
        [1357]???|*[0145][0145]) ;;
        *) why="$1: others can write to it and it is not sticky: choose another directory"; return 1 ;;
    esac
    [ "$2" -lt 1000 ] || [ "$2" = "$uid" ] ||
        { why="$1: is user $2's, who could change what is in it: choose another directory"; return 1; }
    own=$PWD why=
}
go_to_own() {
    go_to "$1" "scrun-$uid" "$2" && return
    [ -n "$taken" ] && said=$why && cd -P -- "$1" || return 1
    for found in "scrun-$uid-own-"*; do
        [ -O "${1%/}/$found" ] && go_to "$1" "$found" && return
    done
    [ "$2" = make ] && go_to "$1" "scrun-$uid-own-XXXXXXXX" make && return
    why=$said
    return 1
}
