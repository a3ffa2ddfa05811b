mkdir -p /tmp/ww; cat > /tmp/ww/scrunw <<'X'
#!/bin/sh
echo "== $*" >>/tmp/ww/log; env | grep -i "oci\|conmon\|notify" >>/tmp/ww/log; cat /proc/$PPID/comm >>/tmp/ww/log
exec /usr/local/bin/scrun "$@"
X
chmod 755 /tmp/ww/scrunw
podman --runtime /tmp/ww/scrunw run -d --name qq localhost/busybox sleep 50
podman --runtime /tmp/ww/scrunw exec qq nosuch
podman --runtime /tmp/ww/scrunw exec qq true
podman --runtime /tmp/ww/scrunw exec -d qq nosuch
podman --runtime /tmp/ww/scrunw exec -w /nosuch qq true
podman --runtime /tmp/ww/scrunw pause qq
podman --runtime /tmp/ww/scrunw pause qq
podman --runtime /tmp/ww/scrunw kill qq; podman --runtime /tmp/ww/scrunw rm -f qq
cat /tmp/ww/log
