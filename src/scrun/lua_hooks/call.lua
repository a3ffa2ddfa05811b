-- Calls the script for Python: an error becomes one message with its place in the script.

local beat = ... -- calls Python, which handles signals only then

local getinfo, sethook = debug.getinfo, debug.sethook
local floor = math.floor
local error, ipairs, pcall, rawget, select, tostring, type, xpcall = error, ipairs, pcall, rawget, select, tostring, type, xpcall
local unpack = table.unpack or unpack
local load = loadstring or load

local exact = {} -- messages of scrun itself, which need no place in the script

-- the result of a function of scrun: true and the results; false and a message that is complete; or nil and a message
-- about a mistake of the script, which gets the line's number
local function result(ok, ...)
    if ok then return ... end
    if ok == false then exact[(...)] = true end
    error((...), 0)
end

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

local call, last = { result = result }, {}
local BEAT = 1000000 -- instructions of Lua, a few milliseconds

-- the function, and Lua's name of the file in messages
function call.load(source, path)
    local chunk, why = load(source, "@" .. path)
    return chunk, chunk and getinfo(chunk, "S").short_src or why
end

-- functions to call after each run
function call.finally(finish)
    last[#last + 1] = finish
end

local function word(value)
    if value == nil or type(value) == "string" then return value end
    if type(value) == "number" then return value == floor(value) and floor(value) or tostring(value) end
    local ok, text = pcall(tostring, value)
    return ok and type(text) == "string" and text or "a " .. type(value)
end

-- true and at most two results (a word for a value that is neither a whole number nor a string), or false and a message
function call.run(f, ...)
    local args, n = { ... }, select("#", ...)
    sethook(function() result(beat()) end, "", BEAT)
    local ok, first, second = xpcall(function() return f(unpack(args, 1, n)) end, describe)
    sethook()
    collectgarbage() -- closes files that the script left open, so that they are written
    for _, finish in ipairs(last) do
        local finished, why = pcall(finish)
        if ok and not finished then ok, first = false, why end
    end
    if not ok then return false, tostring(first), nil end
    second = word(second)
    return true, word(first), second ~= nil and tostring(second) or nil
end

return call
