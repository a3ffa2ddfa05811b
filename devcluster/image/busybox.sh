# busybox.sh TAR: makes the image localhost/busybox from Debian's static busybox, as a docker-archive, which both podman and
# docker load. Nothing is pulled from anywhere.
# shellcheck shell=bash
set -euo pipefail

tar=$1
work=$(mktemp -d)
root=$work/root
mkdir -p "$work/image" "$root"/{bin,sbin,usr/bin,usr/sbin,etc,dev,proc,sys,run,root,home,var/tmp}
install -d -m 1777 "$root/tmp"
chmod 1777 "$root/var/tmp"
chmod 700 "$root/root"

cp "$(command -v busybox)" "$root/bin/busybox"
# Hard links: podman's vfs copies the image for each container, and on an ext4 without a journal 280 new inodes, as many as
# there are applets, cost more processor time than all the rest of a `podman run`.
busybox --list-full | while read -r applet; do
    [[ $applet == bin/busybox ]] || ln "$root/bin/busybox" "$root/$applet"
done

cat >"$root/etc/passwd" <<'PASSWD'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
user:x:1000:1000:user:/home:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
PASSWD
cat >"$root/etc/group" <<'GROUP'
root:x:0:
daemon:x:1:
user:x:1000:
nogroup:x:65534:
GROUP

tar_of() { tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$1" -C "$2" .; }

cd "$work/image"
tar_of layer.tar "$root"
layer=$(sha256sum layer.tar | cut -d' ' -f1)
jq -n --arg layer "sha256:$layer" --arg arch "$(dpkg --print-architecture)" '{
    architecture: $arch, os: "linux", created: "1970-01-01T00:00:00Z",
    config: {Cmd: ["sh"], WorkingDir: "/", Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
    rootfs: {type: "layers", diff_ids: [$layer]},
    history: [{created: "1970-01-01T00:00:00Z", created_by: "devcluster"}]
}' >config.json
jq -n '[{Config: "config.json", RepoTags: ["localhost/busybox:latest"], Layers: ["layer.tar"]}]' >manifest.json
mkdir -p "$(dirname "$tar")"
tar -cf "$tar" manifest.json config.json layer.tar
rm -rf "$work"
