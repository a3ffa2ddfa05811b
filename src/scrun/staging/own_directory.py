"""The shell functions by which scripts on a node enter a directory of their user alone, below one such as /tmp.

Anybody may make any name in /tmp first: a directory, or a link to one. So a script enters a directory, and then checks
where it is, who owns it and who else can enter it. The script then uses relative names, or a path that nobody else can
change because the directory above is sticky. If another user has taken the name, a random name is made instead.
"""

from __future__ import annotations

from scrun.node_scripts import read_script

GO_TO = read_script("go_to")
