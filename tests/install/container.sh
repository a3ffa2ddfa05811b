# Runs inside a root where scrun has been installed: a Slurm cluster of one host is started there, and a container on it.
# Its network leads nowhere.
# shellcheck shell=bash
set -euo pipefail

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
host=$(hostname)
printf '127.0.0.1 localhost\n10.78.0.1 %s\n' "$host" >/etc/hosts
cat >/etc/slurm/slurm.conf <<CONF
ClusterName=fresh
SlurmctldHost=$host
SlurmUser=slurm
AuthType=auth/munge
StateSaveLocation=/var/lib/slurm/slurmctld
SlurmdSpoolDir=/var/lib/slurm/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SlurmdParameters=config_overrides
NodeName=$host CPUs=4 RealMemory=1000
PartitionName=debug Nodes=ALL Default=YES
CONF
cp /root/scrun/devcluster/etc/slurm/{oci,cgroup}.conf /etc/slurm/
install -d -o slurm -g slurm /var/lib/slurm /var/lib/slurm/slurmctld /var/log/slurm
install -d -m 700 -o alice -g alice /run/user /run/user/2000
chmod 755 /run/user
mount -t cgroup2 cgroup2 /sys/fs/cgroup

install -d -o munge -g munge /run/munge
setpriv --reuid munge --regid munge --init-groups munged
slurmctld
slurmd
deadline=$((SECONDS + 60))
until sinfo --noheader --states=idle --format=%N | grep -qx "$host"; do
    ((SECONDS < deadline)) || { sinfo && tail /var/log/slurm*/*.log /var/log/slurm*.log; exit 1; }
    sleep 0.2
done

as_alice() {
    setpriv --reuid alice --regid alice --init-groups env -i -C /home/alice HOME=/home/alice \
        PATH=/usr/local/bin:/usr/bin:/bin XDG_RUNTIME_DIR=/run/user/2000 "$@"
}
as_alice scrun version
as_alice mkdir -p rootfs/bin
as_alice cp /usr/bin/busybox rootfs/bin/sh
as_alice scrun spec
as_alice python3 - <<'EDIT'
import json
with open("config.json") as file:
    config = json.load(file)
config["process"].update(terminal=False, args=["sh", "-c", "echo in job $SLURM_JOB_ID; exit 7"])
with open("config.json", "w") as file:
    json.dump(config, file)
EDIT
status=0
as_alice scrun run box >/tmp/said || status=$?
cat /tmp/said
[[ $status == 7 && $(</tmp/said) == 'in job 1' ]]

# Gone as it came, with nothing left that would end in a traceback.
if dpkg-query --show scrun >/dev/null 2>&1; then
    dpkg --remove scrun
    scrun --version | grep -x "scrun version $(srun --version | sed 's/.* //')" # Slurm's own is back
    [[ ! -e /usr/bin/scrun.slurm ]]
else
    scrun uninstall
    [[ ! -e /usr/local/bin/scrun ]]
fi
for place in /usr/local/lib/scrun /usr/lib/scrun /usr/local/share/man/man1/scrun.1; do [[ ! -e $place ]]; done
