"""The directory of a container on each node, NODE_DIR/scrun-UID/JOB-ID, and the scripts that work in it.

NODE_DIR is usually /tmp, where others can write: they may have put a directory or a symbolic link of our name there.
So every script enters it with ``cd``, checks where it really is and whose, and works relative to that.
"""

from __future__ import annotations

import os

from scrun.errors import StagingError
from scrun.staging.children import Children
from scrun.staging.spool import short_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrun.staging.children import Child, Interruption
    from scrun.staging.model import Container, Step

# Arguments: NODE_DIR, the name two levels below it, and each script's own. One line on stdout says how it went, short
# enough that srun doesn't cut it. `drop` also removes what a container has made unwritable; rm and chmod -R follow no
# links, and rm stays on the filesystem.
_ENTER = r"""
LC_ALL=C; export LC_ALL; umask 077; unset TAR_OPTIONS POSIXLY_CORRECT
host=${SLURMD_NODENAME:-$(uname -n)} uid=$(id -u) parent=$1 name=$2
base=${1%/}/scrun-$uid
shift 2
say() { echo "scrun-stage $host $1"; }
refuse() { say "bad $(printf %s "$1" | tr '\n' ';' | cut -c1-600)"; exit 1; }
enter() {
    real=$(cd -P -- "$parent" 2>/dev/null && pwd -P) || refuse "$parent: no such directory"
    case $(stat -c %a -- "$real") in
        [1357]???|*[0145][0145]) ;;
        *) refuse "$parent: others can write to it and it is not sticky: choose another node_dir" ;;
    esac
    said=
    [ "$1" != make ] || said=$(mkdir -m 700 -- "$base" 2>&1)
    cd -P -- "$base" 2>/dev/null || refuse "${said:-$base: no such directory}"
    [ "$(pwd -P)" = "${real%/}/scrun-$uid" ] && [ "$(stat -c '%u %a' .)" = "$uid 700" ] ||
        refuse "$base: is not a directory of user $uid alone (mode 700): remove it, or choose another node_dir"
}
drop() {
    cd -P -- "$real/scrun-$uid" || return
    rm -rf --one-file-system -- "./$name" 2>/dev/null && return
    chmod -R u+rwX -- "./$name"; rm -rf --one-file-system -- "./$name"
}
# Root of a user namespace reads what the container has made unreadable (mode 000); the container could as well.
root=
[ "$uid" = 0 ] || { unshare -r true 2>/dev/null && root='unshare -r'; }
"""

# Argument 3: which extended attributes; 4 on: the parts of which changes will be asked for. A stream that isn't taken
# to its end leaves nothing. tar is stopped when it has too much to say: it goes on when the disk is full.
RECEIVE = (
    _ENTER
    + r"""
xattrs=$1; shift
enter make
drop 2>/dev/null
trap 'drop 2>/dev/null' EXIT
trap 'exit 143' HUP INT TERM
mkdir -m 700 -- "$name" 2>/dev/null && cd -- "./$name" || refuse "$base/$name: can't be made"
said=$({
    tar --extract --file=- --ignore-zeros --preserve-permissions --numeric-owner --delay-directory-restore \
        --xattrs --xattrs-include="$xattrs" --warning=no-timestamp 2>&1
    echo "status $?"
} | head -n 200)
case $said in
    *"status 0") [ -e complete ] || refuse "$base/$name: the transfer was cut short" ;;
    *"No space left on device"*) refuse "$base/$name: No space left on device" ;;
    *"Disk quota exceeded"*) refuse "$base/$name: Disk quota exceeded" ;;
    *) refuse "$base/$name: $said" ;;
esac
if [ $# -gt 0 ]; then
    : >marker
    $root find "$@" -printf '%i %p\0' | sort -z >before
fi
trap - EXIT
say ok
"""
)

# Arguments 3 on: the parts. First "gone", the names that are no more, then what is new or changed, then "end".
# A change shows in the ctime, which the container's user can't set. A pair of inode and name that is new is a file or
# a whole directory that was renamed, of which the ctime says nothing. All is removed when we answer "remove".
SEND = (
    _ENTER
    + r"""
xattrs=$1; shift
refuse() { echo "$host: $1" >&2; exit 1; }  # stdout is the archive's
enter
cd -- "./$name" && [ -e before ] || refuse "$base/$name: is not complete"
$root find "$@" -fprintf after '%i %p\0' -cnewer marker -fprintf changed '%p\0' >&2
sort -z -o after after
comm -z -13 before after | cut -z -d' ' -f2- >>changed
sort -z -u -o changed changed
comm -z -23 before after | cut -z -d' ' -f2- | sort -z | comm -z -23 - changed >gone
: >end
{ printf 'gone\0'; cat changed; printf 'end\0'; } |
    $root tar --create --file=- --format=posix --pax-option=delete=atime,delete=ctime --null --no-recursion \
        --files-from=- --numeric-owner --sparse --xattrs --xattrs-include="$xattrs"
status=$?
[ $status -le 1 ] || exit $status
read -r answer
[ "$answer" != remove ] || drop >&2
"""
)

# Arguments 3 on: names and contents, in turn. They count as unchanged by the container, which doesn't run yet.
_RENEW = (
    _ENTER
    + r"""
enter
cd -- "./$name" || refuse "$base/$name: is gone"
while [ $# -gt 1 ]; do
    said=$( { printf %s "$2" >"$1"; } 2>&1) || refuse "$base/$name/$1: $said"
    shift 2
done
[ ! -e marker ] || : >marker
say ok
"""
)

_REMOVE = (
    _ENTER
    + r"""
[ -e "$base" ] || { say ok; exit 0; }
enter
said=$(drop 2>&1) || refuse "$base/$name: $said"
say ok
"""
)


def node_name(container: Container) -> str:
    """The last name of the container's directory on a node."""
    return short_name(f"{container.job_id}-{container.id}")


def node_path(container: Container, parent: str) -> str:
    """The container's directory on every node."""
    return f"{parent.rstrip('/')}/scrun-{container.user_id}/{node_name(container)}"


def xattrs(container: Container) -> str:
    """The extended attributes that can be restored where the job's user isn't root: his own."""
    return "*" if container.user_id == 0 else "user.*"


def command(script: str, parent: str, name: str, *arguments: str) -> list[str]:
    """The argv of one of the scripts. Names are arguments, never shell text."""
    return ["sh", "-c", script, "scrun-stage", parent, name, *arguments]


def remove(
    step: Step, parent: str, name: str, *, seconds: float = 60, interruption: Interruption | None = None
) -> None:
    """Remove the directory from all nodes; nothing there is fine.

    Raises:
        StagingError: a node that couldn't, and why.
    """
    import subprocess

    with Children(interruption) as children:
        child = children.step(step, command(_REMOVE, parent, name), stdin=subprocess.DEVNULL)
        if not children.wait(seconds=seconds):
            raise StagingError(
                f"{', '.join(step.nodes)}: {parent}: no answer within {seconds:.0f} s, files may be left"
            )
        check(child, child.process.wait(), step.nodes)


def renew(step: Step, parent: str, name: str, files: Mapping[str, bytes]) -> None:
    """Write small files that were carried once more; one with a null byte stays as it is.

    Raises:
        StagingError: a node that couldn't, and why.
    """
    import subprocess

    words = [word for path, data in files.items() if b"\0" not in data for word in (path, os.fsdecode(data))]
    with Children() as children:
        child = children.step(step, command(_RENEW, parent, name, *words), stdin=subprocess.DEVNULL)
        if children.wait_for(lambda: have_answered(child, step.nodes)):
            check(child, 0, step.nodes)
            children.let_go(child)
        else:
            check(child, child.process.wait(), step.nodes)


def complaints(child: Child) -> list[str]:
    """What nodes have refused so far."""
    return [f"{host}: {what.removeprefix('bad ')}" for host, what in _answers(child).items() if what != "ok"]


def check(child: Child, status: int, nodes: Sequence[str]) -> None:
    """Raise StagingError unless every node said that it went well."""
    found = complaints(child)
    if found:
        raise StagingError("; ".join(found))
    silent = set(nodes) - set(_answers(child))
    if silent or status:
        raise StagingError(
            f"{', '.join(sorted(silent) or nodes)}: staging failed with status {status}: {child.words() or 'no answer'}"
        )


def have_answered(child: Child, nodes: Sequence[str]) -> bool:
    """Whether every node has said that it went well."""
    return child.out.endswith(b"\n") and not complaints(child) and set(nodes) <= set(_answers(child))


def _answers(child: Child) -> dict[str, str]:
    answers = {}
    for line in child.out.decode("utf-8", "backslashreplace").splitlines():
        words = line.split(" ", 2)
        if len(words) == 3 and words[0] == "scrun-stage":
            answers[words[1]] = words[2]
    return answers
