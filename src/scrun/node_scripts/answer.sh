# Print the result of the function `answer`: its exit status, and then all that it prints. srun cuts lines of 1024 bytes
# and more, so the result is printed in base64, in short lines with the mark and the node's name.
said=$(answer "$@" 2>&1)
answered=$?
echo
printf '%s\n' "$answered" "$said" | base64 -w 900 | sed "s/^/$mark> $SLURMD_NODENAME /"
