"""Waiting for what takes its time, without sleeping longer than it takes."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")

# Seconds. It measures nothing: what hasn't come by then, on a machine with too much to do, never comes. What is waited
# for must not come by itself meanwhile: a container that is to be ended sleeps for longer.
PATIENCE = 60.0


def wait_until(condition: Callable[[], T], what: str, timeout: float = PATIENCE) -> T:
    """What ``condition`` returns, once that is true; after ``timeout`` seconds the test fails, saying ``what``."""
    deadline = time.monotonic() + timeout
    while True:
        asked = time.monotonic()
        if result := condition():
            return result
        now = time.monotonic()
        if now > deadline:
            pytest.fail(f"waited {timeout:.0f} s in vain until {what}")
        time.sleep(max(0.02, now - asked))  # what is waited for needs the processors as well


def read_until(descriptor: int, wanted: bytes, timeout: float = PATIENCE) -> bytes:
    """What arrives on a descriptor, up to and with ``wanted``; what comes with it in one piece is kept as well."""
    got = b""
    deadline = time.monotonic() + timeout
    while wanted not in got:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            pytest.fail(f"waited {timeout:.0f} s in vain for {wanted!r}; there was {got!r}")
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # the last slave of a terminal was closed
            piece = b""
        if not piece:
            pytest.fail(f"the stream ended without {wanted!r}; there was {got!r}")
        got += piece
    return got
