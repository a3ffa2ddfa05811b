"""Makes a container's files available on the nodes of its job, and brings changes back.

::

    stage_in   probe ──> plan ──> (carry) ──> spool bundle      what the job's step is given
    stage_out  (bring back) ──> remove
    discard    remove

Where the nodes see the same files at the same paths nothing is copied. The three verbs each have a file; the
order in which the others depend on each other is: verbs → carry, bring_back → nodes, children → model.
"""

from __future__ import annotations

from scrun.staging.model import Container, Staged, Step
from scrun.staging.options import Options
from scrun.staging.stage_in import stage_in
from scrun.staging.stage_out import discard, stage_out

__all__ = ["Container", "Options", "Staged", "Step", "discard", "stage_in", "stage_out"]
