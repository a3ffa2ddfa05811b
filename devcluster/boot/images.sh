# Runs on login, as root or as a user, at each `devcluster up`: gives podman and docker the image localhost/busybox.
# shellcheck shell=bash
set -euo pipefail

image=localhost/busybox
archive=/usr/share/devcluster/busybox.tar

podman image exists "$image" || podman load --quiet --input "$archive"

case $USER in
    root) socket=/run/docker.sock ;;
    alice) socket=$XDG_RUNTIME_DIR/docker.sock ;;
    *) exit 0 ;;
esac
export DOCKER_HOST=unix://$socket
for ((tries = 0; tries < 200; tries++)); do
    docker version >/dev/null 2>&1 && break
    sleep 0.1
done
docker image inspect "$image" >/dev/null 2>&1 || docker load --quiet --input "$archive"
