"""Tests of a real executable on a real cluster; run inside the devcluster's host ``login``, as root."""
