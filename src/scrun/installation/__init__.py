"""``scrun install`` and ``scrun uninstall``: the quick launcher and what goes with it, below a prefix and in /etc."""
