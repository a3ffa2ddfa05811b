# Look at a process: its state and the signals that are pending for it, into $state, and its parent, into $parent. A
# process whose child was stopped between vfork(2) and execve(2) waits for the child, in state D, with its own SIGSTOP
# (bit 18) pending: it does nothing more.
look_at() {
    state= parent=
    while read -r key value rest; do
        case $key in
            State:) state=$value ;;
            PPid:) parent=$value ;;
            ShdPnd:) state=$state$value; break ;;
        esac
    done 2>/dev/null <"/proc/$1/status"
}
send() {  # signal $1 to process $2, at which we have looked, unless the pid has gone to a process of somebody else's
    for init in $inits; do
        for kind in pid mnt; do
            [ "/proc/$init/ns/$kind" -ef "/proc/$$/ns/$kind" ] ||
                [ ! "/proc/$2/ns/$kind" -ef "/proc/$init/ns/$kind" ] || { kill -s "$1" "$2"; return; }
        done
        [ "$2" != "$init" ] || { kill -s "$1" "$2"; return; }
    done
    case " $members " in *" $parent "*) kill -s "$1" "$2" ;; esac
}
