# follow.sh WAY: runs inside a fresh root, with the network: what README says, and what is there then.
# shellcheck shell=bash
set -euo pipefail

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# What an administrator of this machine has: its mirror, a yes to apt's questions. No daemon starts here.
mapfile -t options <<<"$BUILD_APT_OPTIONS"
{
    echo 'APT::Get::Assume-Yes "true";'
    for option in "${options[@]}"; do
        [[ $option == -o ]] || printf '%s "%s";\n' "${option%%=*}" "${option#*=}"
    done
} >/etc/apt/apt.conf.d/00machine
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
apt-get update
useradd --create-home --uid 2000 --user-group alice

cd /root/scrun
case $1 in
    sdist)
        # As its maintainers make it, by tools of their own.
        apt-get install python3-build python3-venv
        SCRUN_WITHOUT_SLURM=1 python3 -m build --sdist --outdir /root/sdist .
        apt-get purge --autoremove python3-build python3-venv
        rm -r src/*.egg-info
        ;;
    uv)
        apt-get install python3-venv
        python3 -m venv /opt/of-uv
        /opt/of-uv/bin/pip install uv
        PATH+=:/opt/of-uv/bin
        [[ ! ${PIP_INDEX_URL-} ]] || export UV_DEFAULT_INDEX=$PIP_INDEX_URL
        ;;
esac

# A command that fails ends it, as it would end an administrator's day.
bash -exuo pipefail /root/commands

as_alice() {
    setpriv --reuid alice --regid alice --init-groups env -i -C / HOME=/home/alice PATH=/usr/local/bin:/usr/bin:/bin "$@"
}
as_alice scrun version
as_alice scrun --help | grep -x 'Usage: scrun .*'
said=$(as_alice scrun nosuch 2>&1) && exit 1 # click's errors differ from version to version
[[ $said == 'scrun: no such command '*': see scrun --help' ]]
as_alice scrun lua check | grep -x '/etc/slurm/scrun.lua: ok'
head -n 1 "$(as_alice sh -c 'command -v scrun')" | grep -xE '#!.*( -IS|/scrun-front .*)' # the quick one

# For container.sh.
apt-get install --no-install-recommends slurmctld slurmd munge crun uidmap busybox-static
