# Rename a directory whose changes could not be brought back, because a site's Epilog removes names of the job.
enter
[ ! -e "./kept-$name" ] || refuse "$base/kept-$name: is there already"
IFS= read -r short 2>/dev/null <"./$name/short" && rm -f -- "./$short"  # a link to what is in it: place.sh
said=$(mv -- "./$name" "./kept-$name" 2>&1) || refuse "$base/$name: $said"
rm -f -- "./$name~"
say ok
