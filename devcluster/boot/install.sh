# install.sh build|install DIRECTORY KEY [FILE…]: runs on login, as root. See lib/install.sh.
# shellcheck shell=bash
set -euo pipefail

verb=$1 dir=$2 key=$3
shift 3

case $verb in
    build)
        # Only what changed is copied, and build/ is kept: an unchanged .pyx isn't compiled again.
        mkdir -p "$dir/project"
        (cd /src && rsync --archive --delete --relative --exclude __pycache__ --exclude '*.egg-info' --exclude /build \
            "$@" "$dir/project/")
        rm -rf "$dir/debs"
        # Compiling takes half as long so, and what is wrapped are calls over the network.
        CFLAGS='-O1 -g0' PIP_NO_INDEX=1 SCRUN_DEB_COMPRESSION=zstd \
            "$dir/project/packaging/deb/build" --environment /opt/scrun "$dir/debs"
        ;;
    install)
        dpkg --force-confold --install "$dir"/debs/*.deb
        # The tests' Python finds what is installed.
        /opt/scrun/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' | while read -r packages; do
            echo /usr/lib/scrun/dist >"$packages/scrun.pth"
        done
        printf '%s\n' "$key" >"$dir/installed"
        ;;
esac
