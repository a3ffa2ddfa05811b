# Print the two units in which /proc counts, ticks of a second and bytes of a page, and then each process's stat on one
# line (proc_pid_stat(5)). A small system has no getconf(1): there USER_HZ is 100, as wherever Slurm runs, and the size
# of a page is in smaps.
exec 2>/dev/null
ticks=$(getconf CLK_TCK) page=$(getconf PAGESIZE)
[ -n "$page" ] || while read -r key size rest; do
    [ "$key" != KernelPageSize: ] || { page=$((size * 1024)); break; }
done </proc/self/smaps
echo "${ticks:-100} ${page:-4096}"
for pid in $1; do # the container's
    stat=
    while IFS= read -r line || [ -n "$line" ]; do
        stat="$stat $line"
    done 2>/dev/null <"/proc/$pid/stat"
    [ -z "$stat" ] || printf '%s\n' "$stat"
done
