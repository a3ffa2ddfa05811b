# Tell scrun doctor about this node. Arguments: the runtime, as shell words; the configs of two trials of it, an overlay
# and a bind mount at /; the runtime's directory; the port of the login host; a file that the login host has made. Each
# may be empty. What a program prints is cut to one printable line.
LC_ALL=C; export LC_ALL
runtime=$1 overlay=$2 bind=$3 root=$4 port=$5 bundle=$6
uid=$(id -u)
line() { head -n 1 | tr -cd '\040-\176' | cut -c1-160; }
has() { command -v "$1" >/dev/null 2>&1; }
try() { "$@" >/dev/null 2>&1 && echo yes || echo no; }

say "clock $(date +%s)"
@LACKS@
say "oci-lacks ${lacks:--}"
conf=${SLURM_CONF%/*}/oci.conf
if [ -z "$lacks" ] && [ -r "$conf" ] && has base64; then
    head -c @LARGEST@ "$conf" | base64 -w 76 | while IFS= read -r part; do say "oci $part"; done
    say "oci-read yes"
else
    say "oci-read no"
fi
has srun && say "slurm $(srun --version 2>/dev/null | line)"

if [ -n "$runtime" ]; then
    # Its options may need a subcommand; --version is an option as well with crun and runc.
    said=$(eval "$runtime --version" 2>&1 </dev/null) && say "runtime yes $(printf %s "$said" | line)" ||
        say "runtime no $(printf %s "$said" | line)"
fi
if [ -n "$root" ]; then
    # The runtime makes it, if the directory above lets it.
    at=$root
    while [ ! -e "$at" ] && [ "$at" != / ] && [ -n "$at" ]; do at=${at%/*}; at=${at:-/}; done
    if [ -d "$at" ] && [ -w "$at" ] && [ -x "$at" ]; then say "root yes $at"; else say "root no $at"; fi
    say "root-owner $(stat -c '%u %a' -- "$at" 2>/dev/null)"
fi
if [ -n "$overlay" ] && make_try; then
    say "overlay $(try try_runtime "$try" "$runtime" "$overlay")"
    [ -z "$bind" ] || say "bind $(try try_runtime "$try" "$runtime" "$bind")"
    rmdir -- "$own"
fi

for kind in user net; do
    # cat, since dash reads a byte at a time, and the kernel gives no second one.
    most=$(cat "/proc/sys/user/max_${kind}_namespaces" 2>/dev/null) && say "most-$kind $most"
done
if has unshare; then
    as=-r
    [ "$uid" = 0 ] && as=
    say "user-namespace $(try unshare -r true)"
    say "net-namespace $(try unshare $as -n true)"
fi

for name in tar stat find base64 sed bash flock unshare nsenter timeout; do
    if ! has "$name"; then
        say "tool $name -"
    else
        case $name in
            tar|stat) say "tool $name $($name --version 2>&1 | line)" ;;
            *) say "tool $name yes" ;;
        esac
    fi
done
if [ ! -c /dev/net/tun ]; then
    say "tun none"
else
    (: <>/dev/net/tun) 2>/dev/null && say "tun yes" || say "tun closed"
fi
[ -z "$bundle" ] || { [ -r "$bundle" ] && say "bundle yes" || say "bundle no"; }
if [ -z "$port" ]; then
    :
elif has bash && has timeout; then
    timeout 5 bash -c 'exec 3<>"/dev/tcp/$1/$2"' sh "$SLURM_SRUN_COMM_HOST" "$port" 2>/dev/null
    case $? in 0) say "back yes" ;; 124) say "back dropped" ;; *) say "back refused" ;; esac
else
    say "back unknown"
fi
for directory in /tmp /var/tmp; do
    room=$(stat -f -c '%a %S %d %c' -- "$directory" 2>/dev/null) && say "room $directory $room"
done

# What containers have left here; a job that is alive has its own.
tmp=$(cd -P /tmp && pwd)
left=0
if go_to_own "$tmp"; then
    say "own yes"
    for one in [0-9]*; do
        [ -d "./$one" ] && [ ! -h "./$one" ] && say "left ${one%%-*}" && left=$((left + 1))
        [ "$left" -lt 200 ] || break
    done
else
    [ -n "$taken" ] && say "own taken" || say "own none"
fi
say end
