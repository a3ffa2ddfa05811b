-- encode(): Lua to JSON. A value that decode() has read is written as it was, unless the script changed it.
--
-- A table's metatable may have `__jsontype` "object" or "array", which decode() and json.object() set. Without it, a
-- table with keys 1 to n is an array, one with strings is an object, and an empty one is an array, as in the C scrun.

local char, byte, find, format, gsub = string.char, string.byte, string.find, string.format, string.gsub
local concat, floor, huge, sort = table.concat, math.floor, math.huge, table.sort
local getmetatable, next, rawget, setmetatable, tonumber, type = getmetatable, next, rawget, setmetatable, tonumber, type
local math_type = math.type

local MAX_DEPTH = 512

-- It reads as an empty table, so that `ipairs(x)` and `x.y` work on a null.
local null = setmetatable({}, {
    __tostring = function() return "null" end,
    __newindex = function() error("json.null can't be changed", 0) end,
    __metatable = "json.null",
})

local function mark(t)
    local meta = getmetatable(t)
    return type(meta) == "table" and meta or nil
end

local out, path, on_path

local function refuse(what)
    local place = {}
    for i = 1, math.min(#path, 12) do place[i] = "/" .. tostring(path[i]) end
    if #path > 12 then place[13] = "/..." end
    error("json: " .. (place[1] and concat(place) or "the value") .. ": " .. what, 0)
end

local string_escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }
for code = 0, 31 do
    string_escapes[char(code)] = string_escapes[char(code)] or format("\\u%04x", code)
end

local function escape_surrogate(bytes)
    local _, b, c = byte(bytes, 1, 3)
    return format("\\u%04x", 0xD000 + (b - 0x80) * 64 + c - 0x80)
end

-- Bytes that aren't UTF-8 stay as they are, because a path must not change.
local function string_text(s)
    if find(s, '["\\%z\1-\31]') then s = gsub(s, '["\\%z\1-\31]', string_escapes) end
    if find(s, "\237[\160-\191]") then s = gsub(s, "\237[\160-\191][\128-\191]", escape_surrogate) end
    return '"' .. s .. '"'
end

-- A whole number is written without a fraction: 1000 / 2 is 500.0 to Lua 5.4, and no engine takes that for an integer.
local function number_text(n)
    if math_type and math_type(n) == "integer" then return format("%d", n) end
    if n ~= n or n == huge or n == -huge then refuse("JSON has no " .. tostring(n)) end
    if n == floor(n) and n > -2 ^ 63 and n < 2 ^ 63 then return format("%.0f", n) end
    for digits = 15, 17 do
        local spelling = format("%." .. digits .. "g", n)
        if tonumber(spelling) == n then return spelling end
    end
end

-- "array" and its length, "object" or "null"; the caller handles scalars
local function kind(t)
    if t == null then return "null" end
    local meta = mark(t)
    local wanted = meta and meta.__jsontype
    local count, top, named = 0, 0, nil
    for key in next, t do
        if type(key) == "number" and key >= 1 and key == floor(key) then
            count = count + 1
            if key > top then top = key end
        elseif type(key) == "string" then
            named = key
        else
            refuse("a key that is " .. (type(key) == "number" and "the number " .. tostring(key) or "a " .. type(key)))
        end
    end
    if count > 0 and (named or wanted == "object") then
        refuse(named and format("has the key %q beside numbered ones: neither an array nor an object", named)
            or "is an object, and has numbered keys")
    elseif named and wanted == "array" then
        refuse(format("is an array, and has the key %q", named))
    elseif top ~= count then
        refuse(format("an array with holes: %d values, the last numbered %d", count, top))
    end
    -- an empty table that nobody marked is an array, as in the C scrun
    if named or wanted == "object" then return "object" end
    return "array", count
end

local encode_value

local function encode_array(t, n, raw)
    out[#out + 1] = "["
    for i = 1, n do
        if i > 1 then out[#out + 1] = "," end
        encode_value(i - 1, rawget(t, i), raw and raw[i])
    end
    out[#out + 1] = "]"
end

-- the keys that were read, in their order, then the script's own keys by the alphabet
local function encode_object(t, meta)
    local keys, nulls, raw = meta and meta.keys or {}, meta and meta.nulls or {}, meta and meta.raw or {}
    local done, added, comma = {}, {}, ""
    out[#out + 1] = "{"
    local function member(key)
        local value = rawget(t, key)
        if done[key] or (value == nil and not nulls[key]) then return end
        done[key] = true
        out[#out + 1] = comma .. string_text(key) .. ":"
        comma = ","
        encode_value(key, value, raw[key])
    end
    for i = 1, #keys do member(keys[i]) end
    for key in next, t do
        if not done[key] then added[#added + 1] = key end
    end
    sort(added)
    for i = 1, #added do member(added[i]) end
    out[#out + 1] = "}"
end

local function encode_table(t)
    if on_path[t] then refuse("the table contains itself") end
    if #path > MAX_DEPTH then refuse("nested too deep") end
    local shape, n = kind(t)
    if shape == "null" then
        out[#out + 1] = "null"
        return
    end
    on_path[t] = true
    local meta = mark(t)
    if shape == "array" then encode_array(t, n, meta and meta.raw) else encode_object(t, meta) end
    on_path[t] = nil
end

-- key is nil at the top; spelling is the number's text when it was read
function encode_value(key, value, spelling)
    local depth = #path
    if key ~= nil then path[depth + 1] = key end
    local what = type(value)
    if what == "string" then
        out[#out + 1] = string_text(value)
    elseif what == "number" then
        out[#out + 1] = spelling and tonumber(spelling) == value and spelling or number_text(value)
    elseif what == "boolean" then
        out[#out + 1] = value and "true" or "false"
    elseif what == "nil" then
        out[#out + 1] = "null"
    elseif what == "table" then
        encode_table(value)
    else
        refuse("JSON has no " .. what)
    end
    path[depth + 1] = nil
end

local function encode(value)
    out, path, on_path = {}, {}, {}
    encode_value(nil, value)
    local result = concat(out)
    out, path, on_path = nil, nil, nil
    return result
end

-- keys: the order in which encode() writes them
local function object(t, keys)
    return setmetatable(t == nil and {} or t, { __jsontype = "object", keys = keys })
end

local function array(t)
    return setmetatable(t == nil and {} or t, { __jsontype = "array" })
end

return {
    encode = encode,
    null = null,
    object = object,
    array = array,
    kind = function(t) -- for Python, which must not see a Lua error
        if type(t) ~= "table" then return false, "a " .. type(t) .. " is of no use here", nil end
        path = {}
        local ok, shape, n = pcall(kind, t)
        return ok, shape, n
    end,
}
