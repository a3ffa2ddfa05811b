-- The `slurm` table of scrun(1), `require "json"`, and the `scrun` table; the functions of `host` are Python's.

local host, extras, json, decode, call = ...

local ceil, floor, format = math.ceil, math.floor, string.format
local error, ipairs, pairs, pcall, select, tonumber, tostring, type = error, ipairs, pairs, pcall, select, tonumber, tostring, type

-- values of slurm.h; time_str2mins returns -1 and -2, as in C, where it returns an int
slurm = { SUCCESS = 0, ERROR = -1, FAILURE = -1, INFINITE = 4294967295, NO_VAL = 4294967294 }

local function wanted(name, value)
    if type(value) == "number" then value = tostring(value) end
    if type(value) ~= "string" then error(name .. ": a string is expected, not " .. type(value), 0) end
    if value:find("%z") then error(name .. ": the string has a NUL byte in it", 0) end
    return value
end

local function absolute(name, value)
    if wanted(name, value):sub(1, 1) ~= "/" then error(format("%s: %q is not an absolute path", name, value), 0) end
    return value
end

function slurm.allocator_command(script)
    return call.result(host.allocator_command(wanted("slurm.allocator_command", script)))
end

function slurm.remote_command(script)
    return call.result(host.remote_command(wanted("slurm.remote_command", script)))
end

function slurm.set_bundle_path(path)
    call.result(host.set_bundle_path(absolute("slurm.set_bundle_path", path)))
end

function slurm.set_root_path(path)
    call.result(host.set_root_path(absolute("slurm.set_root_path", path)))
end

local function log(level, message)
    call.result(host.log(level, message))
end

-- logging ------------------------------------------------------------------------------------------------------------

local levels = { [0] = "info", "verbose", "debug", "debug2", "debug3", "debug4" }

-- scrun(1) documents (MSG, LEVEL), the C scrun takes (LEVEL, MSG); the number is the level
function slurm.log(message, level)
    if type(message) == "number" and level ~= nil then message, level = level, message end
    level = floor(tonumber(level) or 0)
    log(levels[level] or (level > 5 and "debug4" or "info"), tostring(message))
end

function slurm.error(message)
    log("error", tostring(message))
end

-- printf, as in the C scrun; but a message without arguments may have any '%', which is an error in C
local function printf(message, ...)
    if select("#", ...) > 0 then return format(message, ...) end
    message = tostring(message)
    local ok, text = pcall(format, message)
    return ok and text or message
end

for _, level in ipairs({ "error", "info", "verbose", "debug", "debug2", "debug3", "debug4" }) do
    slurm["log_" .. level] = function(...) log(level, printf(...)) end
end

-- times --------------------------------------------------------------------------------------------------------------

local function seconds(text)
    local days, clock = text:match("^(%d+)%-([%d:]*)$")
    local a, b, c = (clock or text):match("^(%d+):?(%d*):?(%d*)$")
    if clock == "" then a, b, c = "0", "", "" end
    if not a or (clock or text):find(":$") then return nil end
    local x, y, z = tonumber(a), tonumber(b) or 0, tonumber(c) or 0
    if days then return tonumber(days) * 86400 + x * 3600 + y * 60 + z end
    if c ~= "" then return x * 3600 + y * 60 + z end
    return x * 60 + y
end

-- rounded up; -1 for no limit; -2 if it isn't a time (the C scrun's values)
function slurm.time_str2mins(text)
    text = (type(text) == "string" or type(text) == "number") and tostring(text):upper() or ""
    if text == "-1" or text == "INFINITE" or text == "UNLIMITED" then return -1 end
    local total = seconds(text)
    return total and floor(ceil(total / 60)) or -2
end

-- json ---------------------------------------------------------------------------------------------------------------

slurm.from_json, slurm.to_json = decode, json.encode

local module = { decode = decode, encode = json.encode, null = json.null, object = json.object, array = json.array }
package.preload.json = function() return module end

-- scrun --------------------------------------------------------------------------------------------------------------

scrun = {}
for name, extra in pairs(extras) do
    scrun[name] = function(...) return call.result(extra(...)) end
end

-- NAME=VALUE numbered from 1, and values by name; job_env[0] is the first too, as in the C scrun
return function(list, by_name)
    by_name[0] = list[1]
    return setmetatable(list, { __index = by_name })
end
