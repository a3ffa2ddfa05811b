"""The part of scrun that runs on the nodes: scrun-node, in C. docs/protocol.md says what it does."""

from __future__ import annotations

import os

PROGRAM = os.path.join(os.path.dirname(__file__), "scrun-node")  # compiled when scrun is built
