-- /etc/slurm/scrun.lua: how a container's files reach the nodes of its job, and come back.
--
-- It works as it is. Files that the nodes see at the same path, for example under a shared /home, are used there. Other
-- files are carried to a directory on each node, and the container's changes are brought back. The places to edit are
-- marked SITE. The script runs as the user who called scrun, so put no secrets here. Check it with `scrun lua check
-- FILE`. scrun(1) and docs/scrun-lua.md describe all functions.
--
-- The nodes and the login host need a shell, coreutils 8.25, findutils and GNU tar 1.29. To keep layers, a node also
-- needs bash and util-linux (flock, unshare), and must reach the login host's srun ports (SrunPortRange).

local options = {
    -- If stage_out has nothing to bring back, a container is reported as stopped before stage_out runs.
    -- SITE: remove this line if your stage_out does more, so that the container ends after stage_out, with its errors.
    hold = false,

    -- SITE: directories that every node has from the same server. scrun doesn't ask the nodes about files in them,
    -- which saves a job step of about 50 ms. An overlay of podman's in such a directory is still recognized.
    -- shared = { "/home", "/scratch" },

    -- SITE: seconds for which scrun remembers which mounts of the login host each node has; 0: ask every time.
    -- remember = 600,

    -- SITE: whether the homes' server maps root to nobody (root_squash). slurmstepd then can't read a bundle in a home
    -- with mode 0700. If unset, scrun tries it where homes are on a network file system.
    -- root_squash = true,

    -- SITE: the directory of every node that files are carried to, into a directory scrun-UID for each user. The files
    -- are removed when a container ends; for cancelled jobs let the nodes' Epilog (slurm.conf) remove them, as
    -- etc/epilog does.
    -- node_dir = "/tmp",

    -- SITE: the directory where nodes keep an image's carried layers for the user's next container of them,
    -- and its size (default: 10 GB, or a quarter of the disk if that is less). Use a disk that outlasts the job. If
    -- there is no room, the layer that was unused for longest is removed. With cache = false nodes keep nothing.
    -- cache_dir = "/var/tmp",
    -- cache_size = "20G",

    -- SITE: directories that are the nodes' own: `-v /local:/data` then mounts the node's /local, not the login host's.
    -- on_nodes = { "/local", "/var/run/nscd" },

    -- SITE: directories of the node that every container gets. options are those of mount(8): ro, nosuid, nodev ...
    -- mounts = { { source = "/opt/apps", destination = "/opt/apps", options = { "ro" } } },
}

-- Called when the job has its nodes. An error, or slurm.ERROR with a message, cancels the job, and the user sees it.
function slurm_scrun_stage_in(id, bundle, spool_dir, config_file, job_id, user_id, group_id, job_env)
    -- SITE: refuse containers here. job_env has the job's variables, config_file is the path of the container's config.
    -- if job_env.SLURM_JOB_PARTITION == "gpu" and job_env.SLURM_JOB_GPUS == nil then
    --     return slurm.ERROR, "containers in partition gpu have to ask for one: -e SCRUN_GPUS=1"
    -- end

    scrun.stage_in(options)
    return slurm.SUCCESS
end

-- Called when the container has ended, before the job is given back.
function slurm_scrun_stage_out(id, bundle, orig_bundle, root_path, orig_root_path, spool_dir, config_file, job_id, user_id, group_id)
    -- SITE: scrun.stage_out{ bring_back = false } only cleans up; a container's changes are then lost.
    scrun.stage_out()
    return slurm.SUCCESS
end

return slurm.SUCCESS
