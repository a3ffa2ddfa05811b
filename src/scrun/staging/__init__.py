"""Make a container's files available on the nodes of its job, and bring changes back.

::

    stage_in   probe ──> plan ──> (carry) ──> spool bundle      the job's step gets that bundle
    stage_out  (bring back) ──> remove
    discard    remove

Where the nodes see the same files at the same paths, nothing is copied. The modules depend on each other in this order:
stage_in, stage_out → carry, bring_back → node_directory, children → model.

Callers import stage_in or stage_out directly, because every container's end runs stage_out, which needs few modules.
"""
