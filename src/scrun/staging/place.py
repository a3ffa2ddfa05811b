"""The script that receives a node's files: a step runs it on each node, and its stdin has arguments, then orders.

::

    order                      answer                  what the node does
    any                        elsewhere WHY           nothing: another user has the name of the user's own directory
    home NAME                  home                    uses that name instead, and begins anew
    plain                      plain                   makes a directory for the container
    layers SHORT KIND OWN      lacks N,N,…             makes the directory, and lays the LAYERS over one another, the
        LAYERS                 layers MODE TRIED,      topmost first; lacks: the numbers of layers, counted from 0, that
                               layers lost TRIED WHY,  the node doesn't keep. MODE: overlay if the runtime can mount one
                               layers no TRIED WHY     there, copy if only the node can. TRIED: yes or no if the runtime
                                                       was tried. lost: a layer in place can't be used. no: there can be
                                                       no layers
    room N=KILOBYTES …         room, plain WHY         makes room for those of these layers that are lacking
    reach PORT TOKEN           reached, unreachable,   connects to this host for the following streams; both ends prove
                               unreachable silent      that they know TOKEN. silent: no answer for 5 s (a firewall)
    relay KEY SIZE             relay, plain WHY        keeps the program of SIZE bytes that follows, scrun-node, and
                                                       tries whether it runs
    fill WAY                   filled, cut WHY,        unpacks the lacking layers of the stream, and seals them. WAY:
                               plain WHY               star, this host sends it to each node; tree, the nodes' relays
                                                       hand it on. cut: the stream broke, and may be sent again. plain:
                                                       the node's file system can't have such layers
    commit N=NAME …            kept                    names them, when all of them were sent
    go MODE FROM               ok                      unpacks the container's own files; FROM: connection, stdin (all
                                                       of it), or how many bytes of stdin
    fetch, then directories    those of way_back.py    does what way_back.py says, from here on
        up to a NUL byte

A node without Slurm's oci.conf answers ``bare FILE`` at once, and ends, because no container would run there.

After every answer the node waits for the next order. A failure is the answer ``bad WHY``, and ends the script, as the
end of stdin does; only complete layers stay then, and after ``ok`` all files. ``reach`` comes before each stream, or
never.
"""

from __future__ import annotations

import os

from scrun.errors import StagingError
from scrun.node_scripts import read_script
from scrun.staging.children import Children
from scrun.staging.node_directory import ENTER, LACKS, REACH, bash_argv
from scrun.staging.root_mounts import TRY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrun.staging.child import Child
    from scrun.staging.model import NodeSteps

_SEND = f"send_changes() {{\n{read_script('send')}}}\n"
_PARTS = (read_script("arguments"), ENTER, read_script("layers"), TRY, REACH, _SEND, read_script("place"))
SCRIPT = "".join(_PARTS).replace("@LACKS@", LACKS)


def start(children: Children, step: NodeSteps) -> tuple[Child, int]:
    """Start the script on all nodes; return the step, and the descriptor of its stdin.

    Raises:
        OSError: the step can't be started.
    """
    read_end, orders = os.pipe2(os.O_CLOEXEC)
    try:
        return children.step(step, "stage", bash_argv(SCRIPT), stdin=read_end), orders
    except BaseException:
        os.close(orders)
        raise
    finally:
        os.close(read_end)


def start_early(step: NodeSteps) -> None:
    """Start the script before it is known what has to be carried: most of what it takes to start is Slurm's time."""
    with Children() as children:
        try:
            child, orders = start(children, step)
        except OSError:
            return  # whoever needs it tries again, and tells the error
        step.early = children.part_with(child, orders, step.nodes, ())


def arguments(words: Sequence[str]) -> bytes:
    """What the script reads first: its arguments.

    Raises:
        StagingError: one of them has a line break.
    """
    if broken := [word for word in words if "\n" in word or word == "."]:
        raise StagingError(f"{broken[0]!r}: no step can be told such a name")
    return "".join(f"{word}\n" for word in (*words, ".")).encode("utf-8", "surrogateescape")
