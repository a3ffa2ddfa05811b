# Read the script's arguments, each a line of stdin, up to the line "."; without that line there is nothing to do.
set --
while IFS= read -r one && [ "$one" != . ]; do set -- "$@" "$one"; done
[ "$one" = . ] || exit 0
