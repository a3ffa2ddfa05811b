# install.sh build|install DIRECTORY KEY: runs on login, as root. See lib/install.sh.
# shellcheck shell=bash
set -euo pipefail

verb=$1 dir=$2 key=$3
export CFLAGS=-O1\ -g0  # compiling takes half as long, and what is wrapped are calls over the network
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INDEX=1

case $verb in
    build)
        # Only what changed is copied, and build/ is kept: an unchanged .pyx isn't compiled again.
        mkdir -p "$dir/project"
        for file in pyproject.toml setup.py setup.cfg MANIFEST.in README.md LICENSE src; do
            [[ ! -e /src/$file ]] || files+=("/src/$file")
        done
        rsync --archive --delete --exclude __pycache__ --exclude '*.egg-info' --exclude /build \
            --filter 'P *.c' "${files[@]}" "$dir/project/"
        rm -f "$dir"/wheels/*
        /opt/scrun/bin/pip wheel --no-deps --no-build-isolation --wheel-dir "$dir/wheels" "$dir/project"
        ;;
    install)
        /opt/scrun/bin/pip install --no-deps --force-reinstall "$dir"/wheels/*.whl
        /opt/scrun/bin/scrun install
        printf '%s\n' "$key" >"$dir/installed"
        ;;
esac
