mkdir -p /home/alice/conf; cp /etc/slurm/*.conf /home/alice/conf/
cat > /home/alice/conf/scrun.lua <<'X'
function slurm_scrun_stage_in(id, bundle) slurm.set_bundle_path('/nosuch') return slurm.SUCCESS end
function slurm_scrun_stage_out() return slurm.SUCCESS end
X
cd /home/alice/fb
scrun -f /home/alice/conf/slurm.conf run z1; echo $?
podman run --rm localhost/busybox :; echo $?
cat /run/user/2000/scrun/z1/anchor.log
