"""The script that receives a node's files: a step runs it on each node, and its stdin has orders.

::

    order                      answer                  what the node does
    any                        elsewhere WHY           nothing: another user has the name of the user's own directory
    home NAME                  home                    uses that name instead, and begins anew
    plain                      plain                   makes a directory for the container
    layers KIND SHORT OWN      layers yes TRIED,       makes the directory, and links to the LAYERS, the topmost first,
        LAYERS                 layers no TRIED WHY     if it can mount an overlay of them (layered_root.py)
    image NAME KILOBYTES       have MODE TRIED,        makes the directory, and looks for the complete image.
                               lacks MODE TRIED,       MODE: overlay if the node can mount one, else copy.
                               plain WHY               TRIED: yes or no if the runtime was tried for an overlay
    reach PORT TOKEN           reached, unreachable,   connects to this host for the following streams; both ends prove
                               unreachable silent      that they know TOKEN. silent: no answer for 5 s (a firewall)
    fill                       filled                  unpacks the stream into an image if it is lacking, and seals it
    commit NAME                kept                    gives the image its name, when all of it was sent unchanged
    go MODE FROM               ok                      unpacks the container's own files; FROM: connection or stdin

A node without Slurm's oci.conf answers ``bare FILE`` at once, and ends, because no container would run there.

After every answer but the last the node waits for the next order. A failure is the answer ``bad WHY``, and ends the
script, as the end of stdin does; only complete images stay then. ``reach`` comes before each stream, or never.
"""

from __future__ import annotations

from scrun.node_scripts import read_script
from scrun.staging.node_directory import ENTER, LACKS, REACH
from scrun.staging.root_mounts import TRY

PLACE = (ENTER + read_script("images") + TRY + REACH + read_script("place")).replace("@LACKS@", LACKS)
