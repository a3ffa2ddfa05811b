"""Makes a container's files available on the nodes of its job, and brings changes back.

::

    stage_in   probe ──> plan ──> (carry) ──> spool bundle      what the job's step is given
    stage_out  (bring back) ──> remove
    discard    remove

Where the nodes see the same files at the same paths nothing is copied. The three verbs each have a file; the
order in which the others depend on each other is: verbs → carry, bring_back → nodes, children → model.

Callers import the verb's module: stage_out is on the way of every container's end and needs little of the rest.
"""
