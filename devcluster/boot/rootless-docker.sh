# Runs on login, as alice, at each `devcluster up`: her own dockerd, at $XDG_RUNTIME_DIR/docker.sock, without systemd.
# shellcheck shell=bash
set -euo pipefail

state=$XDG_RUNTIME_DIR/rootlesskit
! pgrep -x -u "$UID" rootlesskit >/dev/null || exit 0

install -d -m 700 ~/.config/docker ~/.local/share
# What may not be done to the login's own network; else it is as the machine's docker.
jq '. + {bridge: "none", iptables: false, ip6tables: false}' /etc/docker/daemon.json >~/.config/docker/daemon.json
# So that her `docker` finds it without being told.
docker context inspect rootless >/dev/null 2>&1 ||
    docker context create rootless --docker "host=unix://$XDG_RUNTIME_DIR/docker.sock" >/dev/null 2>&1
docker context use rootless >/dev/null 2>&1

# The login's own network: Debian's dockerd-rootless.sh refuses that, and without a route out slirp has no use. The links
# that --copy-up made of /run's entries go first, so that this dockerd makes its own.
rm -rf "$state"
setsid --fork rootlesskit --state-dir="$state" --net=host --copy-up=/etc --copy-up=/run --propagation=rslave \
    sh -c 'rm -f /run/docker /run/containerd /run/xtables.lock; exec dockerd --rootless' \
    </dev/null >>~/.local/share/dockerd.log 2>&1
