"""scrun doctor: find what is wrong on this host and on the nodes, and say what to do about it.

``login_slurm.py``, ``login_host.py`` and ``login_engines.py`` have the checks of this host, ``node_checks.py`` those of
a node. A job step asks a node (``nodes.py``) with a shell script (``node_script.py``), whose answer is checked by type
(``node_answer.py``). ``examine.py`` calls all checks, and ``report.py`` prints the findings.
"""
