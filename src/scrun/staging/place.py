"""The script that receives a node's files: a step runs it on each node, and its stdin has orders.

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

from scrun.node_scripts import read_script
from scrun.staging.node_directory import ENTER, LACKS, REACH
from scrun.staging.root_mounts import TRY

_SEND = f"send_changes() {{\n{read_script('send')}}}\n"
PLACE = (ENTER + read_script("layers") + TRY + REACH + _SEND + read_script("place")).replace("@LACKS@", LACKS)
