# Runs inside the new root after debootstrap: installs image/packages.
# shellcheck shell=bash
set -euo pipefail

mapfile -t apt_options <<<"$BUILD_APT_OPTIONS"
mapfile -t packages < <(sed -E '/^(#|$)/d' /run/devcluster/image/packages)

# No daemon starts in a build, and no index of man pages is made; nothing here outlives a crash, so nothing needs fsync.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/unsafe-io
echo 'man-db man-db/auto-update boolean false' | debconf-set-selections

apt-get "${apt_options[@]}" update
apt-get "${apt_options[@]}" install -y --no-install-recommends "${packages[@]}"
apt-get autoclean
rm -rf /var/lib/apt/lists/*
: >/etc/hostname
