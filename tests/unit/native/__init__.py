"""The native part: scrun-node, its agent, its hooks and its init."""
