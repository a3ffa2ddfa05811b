"""scrun doctor: what is wrong on this host and on the nodes, and what to do about it.

``login_slurm.py``, ``login_host.py`` and ``login_engines.py`` have the checks of this host, ``node_checks.py`` those of
a node. A node is asked by one job step (``nodes.py``), which runs ``node_script.py``; what it prints is read
by type (``node_answer.py``). ``examine.py`` puts it together, and ``report.py`` prints it.
"""
