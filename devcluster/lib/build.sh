# The hosts' root filesystem, as four layers of an overlay: packages, python, mpi, site; and one for each profile that
# has something to install. Each is built once for its recipe and kept in the cache, so that a changed configuration
# costs seconds.
# shellcheck shell=bash

# The suite is Debian testing by its name of today unless SUITE names another. This machine's debootstrap may be older
# than the suite: sid's script is right for all that are newer than it.
SUITE=${SUITE:-forky}
SUITE_SCRIPT=$SUITE
[[ -e /usr/share/debootstrap/scripts/$SUITE ]] || SUITE_SCRIPT=sid

cmd_build() { build_image && say "the image is ready in $CACHE"; }

# layer_dirs: "site:mpi:python:packages", as overlay's lowerdir wants them.
layer_dirs() {
    local packages python mpi site
    packages=$CACHE/packages-$(recipe "$SUITE" image/packages image/packages.sh)
    python=$CACHE/python-$(recipe "$packages" image/python.sh image/requirements.txt pyslurm)
    mpi=$CACHE/mpi-$(recipe "$python" image/mpi.sh)
    site=$CACHE/site-$(recipe "$mpi" image/site.sh image/busybox.sh etc)
    printf '%s:%s:%s:%s\n' "$site" "$mpi" "$python" "$packages"
}

# recipe SALT FILE…: the key of what these files of devcluster/ make.
recipe() {
    local salt=$1
    shift
    (
        cd "$HERE" || exit
        printf '%s\n' "$salt"
        find "$@" -type f -print0 | sort -z | xargs -0 sha256sum
    ) | sha256sum | cut -c1-12
}

build_image() {
    local dirs site mpi python packages all
    dirs=$(layer_dirs)
    IFS=: read -r site mpi python packages <<<"$dirs"
    dirs=$(image_dirs)
    IFS=: read -ra all <<<"$dirs"
    [[ ! -d ${all[0]} || ! -d $site ]] || {
        touch -c "${all[@]}"
        return 0
    }
    mkdir -p "$CACHE"/{debs,pip,logs}
    need_tools
    local lock
    exec {lock}>"$CACHE/build.lock"
    flock --nonblock "$lock" || {
        say "waiting for another build"
        flock "$lock"
    }
    remove_leftovers
    build_settings
    build_packages "$packages"
    build_layer "$python" "$packages" python.sh "3/5 making the Python environment"
    build_layer "$mpi" "$python:$packages" mpi.sh "4/5 unpacking an MPI library"
    build_layer "$site" "$mpi:$python:$packages" site.sh "5/5 configuring the site"
    build_profiles "$site:$mpi:$python:$packages"
    remove_old_layers
    exec {lock}>&-
}

# Layers that nobody has used for a month.
remove_old_layers() {
    local dir
    while read -r dir; do
        remove_tree "$dir"
    done < <(find "$CACHE" -maxdepth 1 -type d -regex '.*/\(profile\|site\|mpi\|python\|packages\)-[0-9a-f]*' -mtime +30)
}

# What a build that was interrupted left; nothing is mounted in it, as a build's mounts end with it.
remove_leftovers() {
    local dir
    for dir in "$CACHE"/building.*; do
        remove_tree "$dir"
    done
}

# libexec/in-rootfs takes these from the environment.
build_settings() {
    BUILD_DEBS=$CACHE/debs
    BUILD_PIP_CACHE=$CACHE/pip
    BUILD_CA=$(ca_bundle)
    BUILD_PIP_SETTINGS=$(pip_settings)
    BUILD_APT_OPTIONS=$(apt_options)
    export BUILD_DEBS BUILD_PIP_CACHE BUILD_CA BUILD_PIP_SETTINGS BUILD_APT_OPTIONS
}

build_packages() {
    local layer=$1 new mirror
    [[ ! -d $layer ]] || return 0
    new=$(mktemp -d "$CACHE/building.XXXXXX")
    mirror=$(debian_mirror)
    step "1/5 bootstrapping Debian $SUITE" \
        unshare --mount --pid --fork --kill-child -- debootstrap --variant=minbase --include=ca-certificates \
        --cache-dir="$CACHE/debs" "$SUITE" "$new/root" "$mirror" "$SUITE_SCRIPT"
    step "2/5 installing packages" "$HERE/libexec/in-rootfs" "$new/root" packages.sh
    mv -T "$new/root" "$layer"
    remove_tree "$new"
}

# build_layer LAYER LOWER SCRIPT TITLE [ARGUMENT…]
build_layer() {
    local layer=$1 lower=$2 script=$3 title=$4 new
    shift 4
    [[ ! -d $layer ]] || return 0
    new=$(mktemp -d "$CACHE/building.XXXXXX")
    mkdir "$new"/{root,upper,work}
    step "$title" "$HERE/libexec/in-rootfs" --lower "$lower" --upper "$new/upper" --work "$new/work" \
        "$new/root" "$script" "$@"
    mv -T "$new/upper" "$layer"
    remove_tree "$new"
}

# step TITLE CMD…: details go to a log, which is named when CMD fails.
step() {
    local title=$1 log begun=$SECONDS
    shift
    log=$CACHE/logs/build-${title%%/*}.log
    say "$title …"
    # CMD is an unshare --kill-child, which ignores Ctrl-C; when it is killed, all that it started is. Should this script
    # be killed itself, CMD is too.
    setpriv --pdeathsig KILL -- "$@" </dev/null >"$log" 2>&1 &
    # shellcheck disable=SC2064
    trap "kill -KILL $!; die 'interrupted: $title'" INT TERM HUP
    wait $! || {
        local why
        why=$(grep -m 1 '^FATAL: ' "$log" || tail -n 1 "$log")
        die "$title failed: ${why#FATAL: } (all of it: $log)"
    }
    trap - INT TERM HUP
    say "$title: $((SECONDS - begun)) s"
}
