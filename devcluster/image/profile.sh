# profile.sh NAME: runs inside the root: what a profile adds to the image, its packages and what its image.sh makes.
# shellcheck shell=bash
set -euo pipefail

profile=/run/devcluster/profiles/$1
if [[ -e $profile/packages ]]; then
    mapfile -t apt_options <<<"$BUILD_APT_OPTIONS"
    mapfile -t packages < <(sed -E '/^(#|$)/d' "$profile/packages")
    apt-get "${apt_options[@]}" update
    apt-get "${apt_options[@]}" install -y --no-install-recommends "${packages[@]}"
    rm -rf /var/lib/apt/lists/*
fi
[[ ! -e $profile/image.sh ]] || bash "$profile/image.sh"
