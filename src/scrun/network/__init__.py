"""The login host's part of a container's network: scrun-network, in C. docs/protocol.md says what it does."""

from __future__ import annotations

import os

PROGRAM = os.path.join(os.path.dirname(__file__), "scrun-network")  # compiled when scrun is built
