-- os.execute and io.popen through Python (shell.py), with files of Lua's own.

local host, call = ...

local open, io_type, result = io.open, io.type, call.result
local error, pairs, setmetatable, type = error, pairs, setmetatable, type
local lua51 = _VERSION == "Lua 5.1"

local pids = {} -- children that nobody has waited for
local pid_of = setmetatable({}, { __mode = "k" }) -- the file of each, while there is one

-- true or nil, "exit" or "signal", and its number; Lua 5.1 returns the bare wait status
local function decoded(status)
    local signal = status % 128
    if signal ~= 0 then return nil, "signal", signal end
    local code = (status - status % 256) / 256
    code = math.tointeger and math.tointeger(code) or code
    return code == 0 or nil, "exit", code
end

local function wanted(name, command)
    if type(command) ~= "string" then error(name .. ": a string is expected, not " .. type(command), 0) end
    if command:find("%z") then error(name .. ": the string has a NUL byte in it", 0) end
    return command
end

local function reap(pid)
    pids[pid] = nil
    return result(host.wait(pid))
end

function os.execute(command)
    if command == nil then return lua51 and 1 or true end
    local status = result(host.execute(wanted("os.execute", command)))
    if lua51 then return status end
    return decoded(status)
end

function io.popen(command, mode)
    mode = mode == nil and "r" or mode
    if mode ~= "r" and mode ~= "w" then error("io.popen: the mode is 'r' or 'w'", 0) end
    local pid, number = result(host.popen(wanted("io.popen", command), mode))
    pids[pid] = true
    local file, why = open("/proc/self/fd/" .. number, mode)
    result(host.release(number))
    if not file then
        reap(pid)
        return nil, why
    end
    pid_of[file] = pid
    return file
end

local methods = getmetatable(io.stderr).__index
local close = methods.close

function methods.close(file)
    local pid = pid_of[file]
    if not pid or io_type(file) ~= "file" then return close(file) end
    pid_of[file] = nil
    close(file)
    local status = reap(pid)
    if lua51 then return true end
    return decoded(status)
end

-- the child of a collected file ends, because the file is closed; in C that close would wait for the child
call.finally(function()
    local live = {}
    for file, pid in pairs(pid_of) do
        if io_type(file) == "file" then live[pid] = true end
    end
    for pid in pairs(pids) do
        if not live[pid] then reap(pid) end
    end
end)

-- for `scrun lua check`: a command succeeds at once, without output
return function()
    host.execute = function() return true, 0 end
    function io.popen(_, mode) return open("/dev/null", mode) end
end
