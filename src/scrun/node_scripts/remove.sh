# Remove the container's directory; a missing one is no error.
go_to "$parent" "$home_name" || { [ -n "$taken" ] || [ ! -e "$base" ] || refuse "$why"; say ok; exit 0; }
home=$own
said=$(drop 2>&1) || refuse "$base/$name: $said"
say ok
