# The checkout's own scrun, as the Debian package that `make deb` makes, installed on login.
# shellcheck shell=bash

# What of the checkout goes into the package.
PROJECT_FILES=(pyproject.toml setup.py README.md CHANGELOG.md SECURITY.md LICENSE src etc docs packaging)
# On login: the copy that is built, which keeps its build directory, and the key of what is installed.
PROJECT_BUILD=/var/lib/scrun-build

cmd_install() {
    shows_checkout
    install_project
}

# What is built and tested is the hosts' /src, which is the checkout that started the cluster.
shows_checkout() {
    host_pid login
    [[ /proc/$REPLY/root/src -ef $CHECKOUT ]] ||
        die "the cluster in $RUN has another checkout at /src: devcluster down first, or name one with DEVCLUSTER_RUN"
}

# The package is kept in the cache under the key of its sources and of the Python layer: another `up` only installs it.
install_project() {
    local key debs pid
    host_pid login
    pid=$REPLY
    key=$(project_key)
    [[ $(cat "/proc/$pid/root$PROJECT_BUILD/installed" 2>/dev/null) != "$key" ]] || return 0

    say "installing the checkout's scrun"
    mkdir -p "$CACHE/logs"
    debs=$CACHE/packaged/$key
    in_host login root install -d -m 755 "$PROJECT_BUILD/debs"
    if [[ ! -d $debs ]]; then
        install_step build "$key" "${PROJECT_FILES[@]}"
        mkdir -p "$debs.$$"
        cp "/proc/$pid/root$PROJECT_BUILD/debs/"*.deb "$debs.$$/"
        mv -T "$debs.$$" "$debs" 2>/dev/null || rm -rf "$debs.$$"
        find "$CACHE/packaged" -mindepth 1 -maxdepth 1 -mtime +3 -exec rm -rf {} +
    fi
    rm -f "/proc/$pid/root$PROJECT_BUILD/debs/"*
    cp "$debs"/*.deb "/proc/$pid/root$PROJECT_BUILD/debs/"
    install_step install "$key"
}

# install_step build|install KEY [FILE…]: one of the two halves of boot/install.sh.
install_step() {
    local log=$CACHE/logs/project-$1.log
    in_host login root bash -s -- "$1" "$PROJECT_BUILD" "${@:2}" <"$HERE/boot/install.sh" >"$log" 2>&1 ||
        die "could not $1 the checkout's scrun: $(tail -n 1 "$log") (all of it: $log); the cluster is up without it"
}

project_key() {
    local file
    {
        cut -d: -f3 "$RUN/image" # what the cluster runs with, which another checkout or suite would not
        cd "$CHECKOUT" || exit
        for file in "${PROJECT_FILES[@]}"; do
            find "$file" -type f ! -path '*/__pycache__/*' ! -path '*.egg-info/*' -print0
        done | sort -z | xargs -0 sha256sum
    } | sha256sum | cut -c1-16
}
