-- /etc/slurm/scrun.lua: how a container's files reach the nodes of its job, and come back.
--
-- It works as it is. What the nodes see at the same path (a bundle under a shared /home, say) is used where it is;
-- what they don't see is carried to a directory on each of them, and what the container changed is brought back when
-- one node ran it. The places to edit are marked SITE. The script runs as whoever called scrun: put no secrets here.
-- Check it with `scrun lua check FILE`. scrun(1) and docs/scrun-lua.md describe all that it can call.
--
-- A node needs a shell, coreutils 8.25, findutils and GNU tar 1.29; the login host the same. To keep images it needs
-- bash and util-linux (flock, unshare) as well, and to reach the login host where its srun listens (SrunPortRange).

local options = {
    -- A container is reported as stopped without waiting for stage_out, where that has nothing to bring back.
    -- SITE: remove this if you let stage_out do more, so that its errors and its work are part of the container's.
    hold = false,

    -- SITE: directories that every node has from the same server. scrun asks the nodes otherwise, which takes a job
    -- step of some 50 ms; it need not ask about what lies in these. An overlay of podman's there is still recognized.
    -- shared = { "/home", "/scratch" },

    -- SITE: for how many seconds to remember of each node which of the login host's mounts it has; 0: ask every time.
    -- remember = 600,

    -- SITE: whether the homes' server takes root for nobody (root_squash). slurmstepd can't read a bundle in a closed home
    -- then. Unset, that is tried where homes are on a file system of the network.
    -- root_squash = true,

    -- SITE: where files are carried to; every node needs it. Below it each user gets a directory of his own, scrun-UID.
    -- It is emptied when a container ends; for jobs that are cancelled, let the nodes' Epilog (slurm.conf) do it, as
    -- etc/epilog does.
    -- node_dir = "/tmp",

    -- SITE: where nodes keep the root filesystems that were carried to them, for the user's next container of that image,
    -- and how much of it (unset: 10 GB, or a quarter of the disk if that is less). It should be a disk that outlasts the
    -- job. The longest unused image makes room. Nodes keep nothing with cache = false.
    -- cache_dir = "/var/tmp",
    -- cache_size = "20G",

    -- SITE: directories that are the nodes' own: `-v /local:/data` then takes the node's /local, not the login host's.
    -- on_nodes = { "/local", "/var/run/nscd" },

    -- SITE: what every container gets of its node. options are those of mount(8): ro, nosuid, nodev ...
    -- mounts = { { source = "/opt/apps", destination = "/opt/apps", options = { "ro" } } },
}

-- Called when the job has its nodes. An error, or slurm.ERROR with a message, cancels the job; the user sees why.
function slurm_scrun_stage_in(id, bundle, spool_dir, config_file, job_id, user_id, group_id, job_env)
    -- SITE: refuse what isn't wanted here. job_env has the job's variables, config_file the container's config.
    -- if job_env.SLURM_JOB_PARTITION == "gpu" and job_env.SLURM_JOB_GPUS == nil then
    --     return slurm.ERROR, "containers in partition gpu have to ask for one: -e SCRUN_GPUS=1"
    -- end

    scrun.stage_in(options)
    return slurm.SUCCESS
end

-- Called when the container has ended, before the job is given back.
function slurm_scrun_stage_out(id, bundle, orig_bundle, root_path, orig_root_path, spool_dir, config_file, job_id, user_id, group_id)
    -- SITE: scrun.stage_out{ bring_back = false } only cleans up, and what a container changed is lost with it.
    scrun.stage_out()
    return slurm.SUCCESS
end

return slurm.SUCCESS
