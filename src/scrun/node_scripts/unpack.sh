# Arguments: the root filesystem, the directory in it, the archive. The hook runs among the node's own files, so no link
# may be followed to them. All files become the container's user's, because no other user is mapped.
PATH=/usr/local/bin:/usr/bin:/bin; export PATH
cd -P -- "$1" && root=$PWD && cd -P -- "./$2" && [ "$PWD" = "$root/$2" ] ||
    { echo "/$2: is not as it was" >&2; exit 1; }
exec tar --extract --file="$3" --preserve-permissions --no-same-owner --delay-directory-restore --warning=no-timestamp
