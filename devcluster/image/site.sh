# Runs inside the root: users, configuration, directories. What differs between hosts is written by `devcluster up`.
# shellcheck shell=bash
set -euo pipefail

# Their homes are made by `devcluster up`, on what all hosts share.
useradd --no-create-home --uid 2000 --user-group --shell /bin/bash alice
useradd --no-create-home --uid 2001 --user-group --shell /bin/bash bob
# In place of the ranges that useradd chose, so that they don't depend on what packages did before.
printf '%s\n' alice:200000:65536 bob:300000:65536 | tee /etc/subuid >/etc/subgid

cp -RT /run/devcluster/etc /etc
# podman 5.4 takes no storage.conf without these two, which are root's; podman 5.8 would take them for users as well.
case $(dpkg-query --show --showformat='${Version}' podman) in
    5.[0-5].*)
        printf '%s\n' 'runroot = "/run/containers/storage"' 'graphroot = "/var/lib/containers/storage"' \
            >>/etc/containers/storage.conf
        ;;
esac

install -d -o slurm -g slurm /var/lib/slurm /var/lib/slurm/slurmctld /var/log/slurm
install -d /var/spool/slurmd

# The C scrun reads scrun.lua beside slurm.conf: it gets a directory of its own, with the same cluster.
for file in slurm.conf nodes.conf cgroup.conf gres.conf plugstack.conf plugstack.conf.d; do
    ln -s "/etc/slurm/$file" "/etc/slurm-cscrun/$file"
done
# Its srun starts in the bundle's directory, which docker has on login alone.
{ cat /etc/slurm/oci.conf && echo 'SrunArgs=--chdir=/'; } >/etc/slurm-cscrun/oci.conf
cat >/usr/local/bin/cscrun <<'WRAPPER'
#!/bin/sh
# The C scrun demands --root in a user namespace, where podman gives none; a --root that is given comes later and wins.
while read -r key uid _; do [ "$key" != Uid: ] || break; done </proc/self/status
[ "$uid" != 0 ] || read -r _ uid _ </proc/self/uid_map
export SLURM_CONF=/etc/slurm-cscrun/slurm.conf
exec /usr/bin/scrun.slurm --root "/run/user/$uid/cscrun" "$@"
WRAPPER
chmod +x /usr/local/bin/cscrun

bash /run/devcluster/image/busybox.sh /usr/share/devcluster/busybox.tar
