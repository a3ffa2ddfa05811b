# Find a container's processes on this node. Parameters in the text: TASKS, the numbers of tasks that may be here;
# PROGRAM, the node's runtime as shell words; NAME, the container's name in that runtime, which may hold $task.
# `[ a -ef b ]` is built into dash, bash and busybox, so that nothing is forked for each process that is looked at.
find_here() {  # the job's containers that are on this node, into $here, and their first processes, into $inits
    inits= here=
    for task in @TASKS@; do
        state=$(@PROGRAM@ state "@NAME@" 2>/dev/null) || continue
        pid=${state#*'"pid":'}
        for pid in ${pid%%[!0-9 ]*}; do
            [ "$pid" = 0 ] || inits="$inits $pid" here="$here $task"
        done
    done
}
find_here

each() {  # the node's runtime, for each of the job's containers that is here
    failed=
    for task in $here; do
        @PROGRAM@ "$1" "@NAME@" >/dev/null 2>&1 || failed=1
    done
    [ -z "$failed" ]
}

add() {
    case "$members " in *" $1 "*) ;; *) members="$members $1" ;; esac
}

find_members() {  # their pids, into $members
    members=
    for init in $inits; do
        [ ! -d "/proc/$init" ] || add "$init"
        for kind in pid mnt; do
            [ "/proc/$init/ns/$kind" -ef "/proc/$$/ns/$kind" ] || for process in /proc/[0-9]*; do
                [ ! "$process/ns/$kind" -ef "/proc/$init/ns/$kind" ] || add "${process#/proc/}"
            done
        done
    done
    parents=$(grep -H '^PPid:' /proc/[0-9]*/status 2>/dev/null)
    before=
    while [ "$members" != "$before" ]; do
        before=$members
        while read -r process parent; do
            case "$members " in *" $parent "*) process=${process#/proc/}; add "${process%%/*}" ;; esac
        done <<PARENTS
$parents
PARENTS
    done
}
