# profile.sh NAME: runs inside the root: what a profile adds to the image, its packages and what its make.sh makes.
# shellcheck shell=bash
set -euo pipefail

cd "/run/devcluster/profiles/$1/image"
if [[ -e packages ]]; then
    mapfile -t apt_options <<<"$BUILD_APT_OPTIONS"
    mapfile -t packages < <(sed -E '/^(#|$)/d' packages)
    apt-get "${apt_options[@]}" update
    apt-get "${apt_options[@]}" install -y --no-install-recommends "${packages[@]}"
    rm -rf /var/lib/apt/lists/*
fi
[[ ! -e make.sh ]] || bash make.sh
