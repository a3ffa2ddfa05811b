"""The directory of a container on each node, NODE_DIR/scrun-UID/JOB-ID, and the scripts that work in it.

NODE_DIR is usually /tmp, where others can write (:mod:`scrun.staging.own_directory`). If another user has taken the
name scrun-UID on a node, a random name replaces it on all nodes, for this container alone (:func:`other_home`).
"""

from __future__ import annotations

import os

from scrun.errors import StagingError
from scrun.marks import MARK, texts
from scrun.staging.children import Children
from scrun.staging.own_directory import GO_TO
from scrun.staging.spool import short_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scrun.staging.children import Child, Interruption
    from scrun.staging.model import ContainerFiles, NodeSteps

# Sets $lacks to the path of oci.conf if the node has none, because slurmd then runs a container's program on the node
# itself. SLURM_CONF is slurmd's own in every task. If that file is hidden from the job's user, nothing is known.
LACKS = r"""
lacks=
[ ! -e "$SLURM_CONF" ] || [ -e "${SLURM_CONF%/*}/oci.conf" ] || lacks=${SLURM_CONF%/*}/oci.conf
"""

# The beginning of every script. Arguments: NODE_DIR, the name below it (empty: scrun-UID), the name below that, and the
# script's own. A line on stdout with the mark tells the result; it is short enough that srun doesn't cut it. On stderr
# the script's words begin at the mark. `drop` also removes files that a container has made unwritable; rm and chmod -R
# follow no links, and rm stays on the file system. The scripts use the shell's own commands where they can, because
# each program takes a millisecond to start, and somebody waits.
ENTER = (
    f"\nmark={MARK}"
    + r"""
LC_ALL=C; export LC_ALL; umask 077; unset TAR_OPTIONS POSIXLY_CORRECT
host=${SLURMD_NODENAME:-$(uname -n)} uid=${BASH_VERSION:+$EUID}
uid=${uid:-$(id -u)}
parent=$1 home_name=${2:-scrun-$uid} name=$3
base=${1%/}/$home_name
shift 3
printf '\n%s> \n' "$mark" >&2
say() { printf '\n%s> %s %s\n' "$mark" "$host" "$1"; }
refuse() { say "bad $(printf %s "$1" | tr '\n' ';' | cut -c1-600)"; exit 1; }
enter() { go_to "$parent" "$home_name" || refuse "$why"; home=$own; }
# Node directories that are one: only the first node gets the claim, which is made with its name in it at once. Its own
# name begins as the directory's, for a site's Epilog to catch both; no container's id has a tilde.
claim() {
    ln -s -- "$host" "./$name~" 2>/dev/null && return
    holder=$(readlink -- "./$name~") && [ "$holder" != "$host" ] || return 0
    refuse "$parent: is shared with $holder: name a node_dir in scrun.lua that each node has for itself"
}
drop() {
    clear_all "./$name~"
    set -- $?
    [ "$home_name" = "scrun-$uid" ] || rmdir -- "$home" 2>/dev/null
    return $1
}
# $1: what else to remove, before it.
clear_all() {
    cd -P -- "$home" || return
    if [ -f "./$name/images" ] && IFS= read -r images <"./$name/images"; then
        # What was being made for it, and its lease of the image that it used: place.py.
        set -- "$@" "$images"/*/leases/"$name.$host" "$images/.new-$name.$host"
    fi
    rm -rf --one-file-system -- "$@" "./$name" 2>/dev/null && return
    chmod -R u+rwX -- "./$name"; rm -rf --one-file-system -- "$@" "./$name"
}
# Root of a user namespace reads what the container has made unreadable (mode 000); the container could as well.
root=
[ "$uid" = 0 ] || { unshare -r true 2>/dev/null && root='unshare -r'; }
"""
    + GO_TO
)

# Send the changes. Arguments from the fourth on: a file that has content if the container's process was not run, or "";
# which extended attributes; directories in rootfs to remove if they are empty, one a line; the parts. The first line of
# output tells whether the process was run. Then comes the line "unchanged", or an archive: "gone" (the removed names),
# new and changed files, and "end".
# A change shows in the ctime, which the container's user can't set. A new pair of inode and name is a renamed file or
# directory, whose ctime may be old. When this host answers "remove", the container's directory is removed.
SEND = (
    ENTER
    + r"""
not_run=$1 xattrs=$2 left=$3; shift 3
refuse() { echo "$host: $1" >&2; exit 1; }  # stdout is the archive's
enter
cd -- "./$name" && [ -e before ] || refuse "$base/$name: is not complete"
if [ -n "$not_run" ] && [ -s "$not_run" ] && [ -w "$not_run" ]; then say not-run; else say run; fi
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
    if [ -h lower ] && [ -s devices ]; then
        # rootfs is what lies over an image: what the container has removed of that is a whiteout, device 0:0, in it.
        $root xargs -0 stat --printf='%t:%T %n\0' -- <devices | sed -z -n 's/^0:0 //p' | sort -z >hidden
        comm -z -12 changed hidden | sed -z 's,^rootfs/,./,' |
            (cd lower && $root xargs -0 -r sh -c 'find "$@" -printf "%p\0"' sh 2>/dev/null) |
            sed -z 's,^\./,rootfs/,' >>gone
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
"""
)

UNCHANGED = b"unchanged\n"
NOT_RUN = "not-run"

# Write small files once more. Stdin has a name and a content (base64) in turn, one a line, and "end"; not the command
# line, because everybody can read that. The files count as unchanged by the container, because it doesn't run yet.
_RENEW = (
    ENTER
    + r"""
enter
cd -- "./$name" || refuse "$base/$name: is gone"
while IFS= read -r path && [ "$path" != end ]; do
    IFS= read -r data || break
    said=$( { printf %s "$data" | base64 -d >"$path"; } 2>&1) || refuse "$base/$name/$path: $said"
done
[ "$path" = end ] || refuse "$base/$name: what changed since create was cut short"
[ ! -e marker ] || : >marker
say ok
"""
)

_REMOVE = (
    ENTER
    + r"""
go_to "$parent" "$home_name" || { [ -n "$taken" ] || [ ! -e "$base" ] || refuse "$why"; say ok; exit 0; }
home=$own
said=$(drop 2>&1) || refuse "$base/$name: $said"
say ok
"""
)

# Rename a directory whose changes could not be brought back, because a site's Epilog removes names of the job.
_KEEP = (
    ENTER
    + r"""
enter
[ ! -e "./kept-$name" ] || refuse "$base/kept-$name: is there already"
said=$(mv -- "./$name" "./kept-$name" 2>&1) || refuse "$base/$name: $said"
rm -f -- "./$name~"
say ok
"""
)


def node_name(container: ContainerFiles) -> str:
    """The name of the container's directory on a node."""
    return short_name(f"{container.job_id}-{container.id}")


def node_path(container: ContainerFiles, parent: str, home: str = "") -> str:
    """The path of the container's directory on every node; ``home`` is :func:`other_home`'s name, or empty."""
    return f"{parent.rstrip('/')}/{home or f'scrun-{container.user_id}'}/{node_name(container)}"


def other_home(container: ContainerFiles) -> str:
    """A random name in place of scrun-UID, which has the job's id, so that a site's Epilog finds it."""
    return f"scrun-{container.user_id}-{container.job_id}-{os.urandom(8).hex()}"


def xattrs(container: ContainerFiles) -> str:
    """The extended attributes that the job's user can restore: "*" for root, else "user.*"."""
    return "*" if container.user_id == 0 else "user.*"


_BASH = 'command -v bash >/dev/null && exec bash -c "$0" "$@"; exec sh -c "$0" "$@"'


def script_argv(script: str, parent: str, home: str, name: str, *arguments: str) -> list[str]:
    """The argv of a script. Names are arguments, never shell text."""
    return ["sh", "-c", script, "scrun-stage", parent, home, name, *arguments]


def bash_argv(script: str, parent: str, home: str, name: str, *arguments: str) -> list[str]:
    """The argv of a script that runs in bash where the node has it, because bash can connect (/dev/tcp)."""
    return ["sh", "-c", _BASH, script, "scrun-stage", parent, home, name, *arguments]


def remove(
    step: NodeSteps,
    parent: str,
    home: str,
    name: str,
    *,
    hosts: Sequence[str] = (),
    seconds: float = 60,
    interruption: Interruption | None = None,
) -> None:
    """Remove the container's directory from ``hosts``, or from all nodes; a missing directory is no error.

    Raises:
        StagingError: a node that failed, and why.
    """
    import subprocess

    hosts = hosts or step.nodes
    with Children(interruption) as children:
        child = children.step(
            step, "remove", script_argv(_REMOVE, parent, home, name), stdin=subprocess.DEVNULL, nodes=hosts
        )
        if not children.wait(seconds=seconds):
            raise StagingError(f"{', '.join(hosts)}: {parent}: no answer within {seconds:.0f} s, files may be left")
        check(child, child.process.wait(), hosts)


def keep(step: NodeSteps, parent: str, home: str, name: str, *, hosts: Sequence[str], seconds: float = 20) -> str:
    """Rename the container's directory on ``hosts`` so that its name doesn't begin with the job's id.

    Returns:
        The new name.

    Raises:
        StagingError: a node that failed, and why.
    """
    import subprocess

    with Children() as children:
        child = children.step(
            step, "keep", script_argv(_KEEP, parent, home, name), stdin=subprocess.DEVNULL, nodes=hosts
        )
        if not children.wait(seconds=seconds):
            raise StagingError(f"{', '.join(hosts)}: {parent}: no answer within {seconds:.0f} s")
        check(child, child.process.wait(), hosts)
    return f"kept-{name}"


def renew(step: NodeSteps, parent: str, home: str, name: str, files: Mapping[str, bytes]) -> None:
    """Write small carried files once more on all nodes; ``files`` are contents by path.

    Raises:
        StagingError: a node that failed, and why.
    """
    from binascii import b2a_base64

    with Children() as children, open(os.memfd_create("renewed"), "wb") as stream:
        for path, data in files.items():
            stream.write(f"{path}\n".encode() + b2a_base64(data))
        stream.write(b"end\n")
        stream.seek(0)
        child = children.step(step, "renew", script_argv(_RENEW, parent, home, name), stdin=stream.fileno())
        if children.wait_for(lambda: have_answered(child, step.nodes)):
            check(child, 0, step.nodes)
            children.let_go(child)
        else:
            check(child, child.process.wait(), step.nodes)


def runs_none(node: str, file: str) -> str:
    """The error message for a node that lacks ``file`` (:data:`LACKS`)."""
    return (
        f"{node} has no {file}: without it slurmd runs the program on the node itself and not in a container: "
        "give the node that file, or name other nodes (SCRUN_JOB_NODELIST)"
    )


def refusals(child: Child) -> list[str]:
    """Error messages of the nodes so far."""
    said = answers(child).items()
    return [f"{host}: {what[4:]}" for host, what in said if what.startswith("bad ")] + [
        runs_none(host, what[5:]) for host, what in said if what.startswith("bare ")
    ]


def check(child: Child, status: int, nodes: Sequence[str]) -> None:
    """Raise StagingError unless every node has answered "ok" and the step's ``status`` is 0."""
    refused = refusals(child)
    if refused:
        raise StagingError("; ".join(refused))
    silent = {node for node in nodes if answers(child).get(node) != "ok"}
    if silent or status:
        raise StagingError(
            f"{', '.join(sorted(silent) or nodes)}: staging failed with status {status}: {child.words() or 'no answer'}"
        )


def have_answered(child: Child, nodes: Sequence[str]) -> bool:
    """Whether every node has answered "ok"."""
    return child.out.endswith(b"\n") and all(answers(child).get(node) == "ok" for node in nodes)


def answers(child: Child) -> dict[str, str]:
    """The last answer of each node."""
    return dict(lines(child))


def lines(child: Child) -> Iterator[tuple[str, str]]:
    """Each complete answer so far, with its node."""
    for text in texts(bytes(child.out)):
        node, _, answer = text.partition(" ")
        yield node, answer
