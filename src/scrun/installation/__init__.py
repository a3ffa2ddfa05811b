"""``scrun install`` and ``scrun uninstall``: the quick launcher, its pages, and configuration in /etc."""
