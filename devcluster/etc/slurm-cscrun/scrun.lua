-- For the C scrun, the peer that ours is measured against: the least that makes it work on this cluster, and fast.
-- It edits config.json as text: the C scrun brings no JSON of its own that survives a round trip.

local function read(path)
	local file = assert(io.open(path))
	local text = file:read("*a")
	file:close()
	return text
end

local function write(path, text)
	local file = assert(io.open(path, "w"))
	file:write(text)
	file:close()
end

-- What podman and docker keep on the login node only: resolv.conf and its like.
local function without_local_mounts(config)
	for _, place in ipairs({ "/run/", "/var/run/", "/var/lib/docker/", "/var/lib/containers/" }) do
		config = config:gsub('{[^{}]*"source":"' .. place .. '[^{}]*},?', "")
	end
	return (config:gsub(",%]", "]"))
end

local function carried_to(id)
	return "/home/.cscrun/" .. id
end

local function is_shared(path)
	return path:find("^/home/") ~= nil
end

function slurm_scrun_stage_in(id, bundle, spool_dir, config_file, job_id, user_id, group_id, job_env)
	local config = without_local_mounts(read(config_file))
	if is_shared(bundle) then
		write(config_file, config)
		return slurm.SUCCESS
	end

	local dest = carried_to(id)
	local root = config:match('"root":{[^{}]*"path":"([^"]*)"')
	if os.execute(string.format("mkdir -p %s && cp -a %s %s/rootfs", dest, root, dest)) ~= 0 then
		return slurm.ERROR
	end
	write(dest .. "/config.json", (config:gsub('("root":{[^{}]*"path":)"[^"]*"', '%1"' .. dest .. '/rootfs"')))
	slurm.set_bundle_path(dest)
	slurm.set_root_path(dest .. "/rootfs")
	return slurm.SUCCESS
end

function slurm_scrun_stage_out(id, bundle, orig_bundle, root_path, orig_root_path, spool_dir, config_file, jobid, user_id, group_id)
	if not is_shared(orig_bundle) then
		os.execute("rm -rf " .. carried_to(id))
	end
	return slurm.SUCCESS
end

return slurm.SUCCESS
