"""What each fault leaves behind: the figures of docs/reliability.md, made on the cluster by `make faults`."""
