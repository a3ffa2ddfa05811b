"""The operations on a container, and the anchor that lives as long as it does."""
