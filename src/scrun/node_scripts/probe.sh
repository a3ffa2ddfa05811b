# Arguments: a trial of the node's runtime (its shell words, and a config), or two empty ones; then paths.
#
# Each node prints a line with the file of Slurm's that it lacks, or "-"; a line with the trial's result, or "-"; and
# one line per path, short enough that srun doesn't cut it: node, boot id, index, file system type (statfs f_type),
# checksum of the sorted names, then device, inode, mode, size and mtime. The paths are arguments, never shell text.
# --cached=never (coreutils 9) makes an NFS client ask its server; older coreutils don't have it.
LC_ALL=C; export LC_ALL
host=${SLURMD_NODENAME:-$(uname -n)}
@LACKS@
say "$host lacks ${lacks:--}"
mounts=-
if [ -n "$2" ] && make_try; then
    mounts=no
    try_runtime "$try" "$1" "$2" && mounts=yes
    rmdir -- "$own"
fi
say "$host mounts $mounts"
shift 2
read -r boot </proc/sys/kernel/random/boot_id
fresh=--cached=never
stat $fresh / >/dev/null 2>&1 || fresh=
index=0
for path do
    facts=$(stat $fresh -L -c '%d %i %f %s %.9Y' -- "$path" 2>/dev/null) || facts=
    type=- names=-
    if [ -n "$facts" ]; then
        type=$(stat -f -c %t -- "$path" 2>/dev/null) || type=-
        [ ! -d "$path" ] || names=$(ls -A -- "$path" 2>/dev/null | cksum | tr ' ' .)
    fi
    say "$host $boot $index ${type:--} $names $facts"
    index=$((index + 1))
done
