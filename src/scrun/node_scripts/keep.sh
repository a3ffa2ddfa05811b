# Rename a directory whose changes could not be brought back, because a site's Epilog removes names of the job.
enter
[ ! -e "./kept-$name" ] || refuse "$base/kept-$name: is there already"
said=$(mv -- "./$name" "./kept-$name" 2>&1) || refuse "$base/$name: $said"
rm -f -- "./$name~"
say ok
