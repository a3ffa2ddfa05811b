# Runs inside the root, after packages.sh and python.sh: an MPI library below /opt/mpich, for programs in containers.
#
# Its packages are unpacked only: what they depend on besides, drivers of accelerators mostly, is 400 MB.
# shellcheck shell=bash
set -euo pipefail

mapfile -t apt_options <<<"$BUILD_APT_OPTIONS"
apt-get "${apt_options[@]}" update
# Debian 13 has no libucc1, and its MPICH needs none.
mapfile -t packages < <(apt-cache show --no-all-versions libmpich12 mpich libucx0 libucc1 libhwloc15 libze1 2>/dev/null |
    sed -n "s/^Package: //p")
work=$(mktemp -d)
chmod 755 "$work"
cd "$work"
apt-get "${apt_options[@]}" download "${packages[@]}"
mkdir /opt/mpich
for package in *.deb; do
    dpkg-deb --fsys-tarfile "$package" |
        tar --extract --directory=/opt/mpich --wildcards --exclude='*.mod' './usr/lib/*/*.so*' './usr/bin/*' 2>/dev/null || true
done
test -x /opt/mpich/usr/bin/mpiexec.hydra
test -e /opt/mpich/usr/lib/"$(gcc -print-multiarch)"/libmpich.so.12
cd /
rm -rf "$work" /var/lib/apt/lists/* /var/cache/apt/*.bin
