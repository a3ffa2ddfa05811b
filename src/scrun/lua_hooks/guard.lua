-- Lua's own library, as far as it would end scrun, write to the container's stdout or reach into Python; and how our
-- side calls the script. Everything else of Lua is there, as in the C scrun.

local host_log, share = ...

local getinfo = debug.getinfo
local concat, floor = table.concat, math.floor
local error, ipairs, pairs, pcall, select, tostring, type, xpcall = error, ipairs, pairs, pcall, select, tostring, type, xpcall
local unpack = table.unpack or unpack
local load = loadstring or load
local io_type = io.type

python = nil
package.loaded.python = nil

local exact = {} -- messages of scrun itself, which need no place in the script

-- what a function of scrun returned: true and the results; or a message, with false if that is the whole sentence,
-- with nil if it is the script's mistake and wants its line
local function result(ok, ...)
    if ok then return ... end
    if ok == false then exact[(...)] = true end
    error((...), 0)
end

local function log(level, message)
    return result(host_log(level, message))
end

-- Debian's Lua also looks in /usr/share; the working directory, which may be anybody's, is left out.
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

-- stdout is the container's: what is written there goes to the log, a line at a time ---------------------------------

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
local open, set_output, close = io.open, io.output, io.close

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
    return close(file)
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

-- calling the script -------------------------------------------------------------------------------------------------

local function place()
    for level = 3, 5000 do
        local frame = getinfo(level, "Sl")
        if not frame then break end
        if frame.currentline > 0 and frame.source:sub(1, 7) ~= "=scrun/" then
            return frame.short_src .. ":" .. frame.currentline .. ": "
        end
    end
    return ""
end

local function describe(err)
    local what, text = type(err), nil
    if what == "string" or what == "number" then
        text = tostring(err)
    elseif what == "nil" then
        text = "error without a message"
    else
        local ok, words = pcall(tostring, err)
        local field = what == "table" and (rawget(err, "message") or rawget(err, "msg") or rawget(err, 1))
        if type(field) == "string" then text = field
        elseif ok and type(words) == "string" and not words:find("^" .. what .. ": ") then text = words
        else text = "error with a " .. what .. " for a message" end
    end
    if exact[text] then return text end
    text = text:gsub("^scrun/[%w_]+%.lua:%d+: ", "")
    if text:find("^[^\n]-:%d+: ") then return text end
    return place() .. text
end

local guard = { result = result, log = log }

-- the function, and the name Lua gives the file in its messages
function guard.load(source, path)
    local chunk, why = load(source, "@" .. path)
    return chunk, chunk and getinfo(chunk, "S").short_src or why
end

-- for `scrun lua check`: a command succeeds at once, and says nothing
function guard.run_no_commands()
    os.execute = function(command)
        if _VERSION == "Lua 5.1" then return command and 0 or 1 end
        return true, "exit", 0
    end
    io.popen = function(_, mode) return open("/dev/null", mode) end
end

-- true and at most two results (a table or function as the word for it), or false and a message
function guard.run(f, ...)
    local args, n = { ... }, select("#", ...)
    local ok, first, second = xpcall(function() return f(unpack(args, 1, n)) end, describe)
    if unfinished ~= "" then to_log("\n") end
    collectgarbage() -- what the script left open is closed, and written
    for file in pairs(opened) do
        if io_type(file) == "file" then file:flush() end
    end
    if not ok then return false, tostring(first), nil end
    if type(first) == "number" and first == floor(first) then first = floor(first)
    elseif first ~= nil then first = type(first) == "string" and first or tostring(first) end
    return true, first, second ~= nil and tostring(second) or nil
end

return guard
