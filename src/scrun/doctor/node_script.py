"""The shell script that asks a node; one task of a step runs it there, as the user.

Each line of the answer is ``KEY VALUE`` behind a random mark (:mod:`scrun.marks`), and short enough that srun doesn't
cut it. :mod:`scrun.doctor.node_answer` knows the type of each value. The last line is ``end``.
"""

from __future__ import annotations

from scrun.marks import SAY
from scrun.node_scripts import read_script
from scrun.staging.node_directory import LACKS
from scrun.staging.own_directory import GO_TO
from scrun.staging.root_mounts import TRY

END = "end"
LARGEST = 1 << 15  # bytes of an oci.conf that are looked at

SCRIPT = SAY + TRY + GO_TO + read_script("doctor").replace("@LACKS@", LACKS).replace("@LARGEST@", str(LARGEST))
