# Tell whether the container's process was not run here: FILE, the file that the container's hook empties, has content.
# It counts only if this node can write to the file. The script also tells which of Slurm's files the node lacks, so that
# the program ran outside of any container, and whether ROOT, the directory of the runtime's state, can't be made.
[ -s @FILE@ ] && [ -w @FILE@ ] || exit 1
@LACKS@
[ -z "$lacks" ] || say "bare $SLURMD_NODENAME $lacks"
root=@ROOT@
[ -z "$root" ] || { mkdir -p -- "$root" && [ -w "$root" ]; } 2>/dev/null || say "no-root $SLURMD_NODENAME $root"
