# Write an archive of a directory's content to stdout, without sockets. Argument: the directory.
cd -P -- "$1" && find . -mindepth 1 ! -type s -print0 |
    tar --create --file=- --format=posix --sparse --null --no-recursion --files-from=-
