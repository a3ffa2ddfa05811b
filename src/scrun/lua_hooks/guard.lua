-- Replaces the functions of Lua's library that would end scrun, write to the container's stdout or reach into Python.
-- Everything else of Lua is available, as in the C scrun.

local host_log, call, share = ...

local concat = table.concat
local error, pairs, pcall, select, setmetatable, tostring, type = error, pairs, pcall, select, setmetatable, tostring, type
local io_type = io.type

python = nil
package.loaded.python = nil

local function log(level, message)
    return call.result(host_log(level, message))
end

-- Debian's Lua also looks in /usr/share. The working directory may be anybody's, so it is left out.
local function without_cwd(search)
    local kept = {}
    for entry in search:gmatch("[^;]+") do
        if entry:sub(1, 2) ~= "./" then kept[#kept + 1] = entry end
    end
    return concat(kept, ";")
end

package.path = without_cwd(package.path) .. ";" .. share .. "/?.lua;" .. share .. "/?/init.lua"
package.cpath = without_cwd(package.cpath)

function os.exit()
    error("os.exit would end scrun itself: return slurm.ERROR and a message instead", 0)
end

-- Lua 5.1 accepts C's %u, which an example of scrun(1) uses; later versions refuse it
if not pcall(string.format, "%u", 1) then
    local format = string.format
    function string.format(text, ...)
        if type(text) == "string" then
            text = text:gsub("%%([^%a%%]*)([%a%%])", function(flags, kind)
                if kind == "u" then return "%" .. flags .. "d" end
            end)
        end
        return format(text, ...)
    end
end

-- stdout is the container's, so output goes to the log, a line at a time ----------------------------------------------

local unfinished = ""

local function to_log(...)
    for i = 1, select("#", ...) do
        local piece = select(i, ...)
        if type(piece) ~= "string" and type(piece) ~= "number" then error("write: a string is expected, not " .. type(piece), 0) end
        unfinished = unfinished .. piece
    end
    unfinished = unfinished:gsub("([^\n]*)\n", function(line)
        log("info", line)
        return ""
    end)
end

local stdout = setmetatable({}, {
    __name = "FILE*",
    __tostring = function() return "file (the log)" end,
    __index = {
        write = function(self, ...)
            to_log(...)
            return self
        end,
        close = function() return true end,
        flush = function(self) return self end,
        setvbuf = function() return true end,
        seek = function() return nil, "the log has no position", 29 end,
        read = function() return nil, "the log can't be read", 9 end,
    },
})

local opened = setmetatable({}, { __mode = "k" })
local output = stdout
local open, set_output = io.open, io.output

local function remember(file, ...)
    if file then opened[file] = true end
    return file, ...
end

io.stdout = stdout
function io.open(...) return remember(open(...)) end
function io.type(file) return file == stdout and "file" or io_type(file) end
function io.write(...) return output:write(...) end
function io.close(file)
    if file == nil then file = output end
    if file == stdout then return true end
    return file:close()
end
function io.output(file)
    if file == stdout then output = stdout
    elseif file ~= nil then output = remember(set_output(file)) end
    return output
end

function print(...)
    local words = {}
    for i = 1, select("#", ...) do words[i] = tostring((select(i, ...))) end
    log("info", concat(words, "\t"))
end

-- the script's process may end without closing Lua
call.finally(function()
    if unfinished ~= "" then to_log("\n") end
    for file in pairs(opened) do
        if io_type(file) == "file" then file:flush() end
    end
end)
