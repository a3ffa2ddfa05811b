"""The profiles' own tests: test_NAME.py is for a cluster with the profile NAME, and not looked at on others."""

from __future__ import annotations

from pathlib import Path

from integration.noise import PROFILES

there = {f"test_{name.replace('-', '_')}.py" for name in PROFILES.read_text().split()} if PROFILES.exists() else set()
collect_ignore = [path.name for path in Path(__file__).parent.glob("test_*.py") if path.name not in there]
