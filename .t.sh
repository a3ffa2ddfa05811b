cd /tmp
podman --runtime scrun run --name nf localhost/busybox sh -c 'trap : TERM; echo up; sleep 1000; :' & P=$!
wait $P; echo rc=$?
cat $(find /run/user/2000 /tmp -name anchor.log 2>/dev/null | head -1) | grep -v "srun: [a-z-]* *: " | tail -14
podman rm -f nf
