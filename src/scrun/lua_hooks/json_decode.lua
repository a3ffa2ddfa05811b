-- decode(): JSON to Lua, with everything that encode() (json_encode.lua) needs to write the same text again.
--
-- A decoded object has a metatable with the order of its keys, with keys that were null, and with the spelling of
-- numbers that Lua would write in another way (1.0 under Lua 5.1, 18446744073709551615 under any). Null keys are absent
-- in Lua, as in the C scrun, so that `config.x ~= nil` is right. A decoded array has a metatable only for spellings.
-- This is Lua 5.1 that runs under 5.4 too. Character classes are spelled out, because %s and %c depend on the locale.

local null = ...

local byte, char, find, format, sub = string.byte, string.char, string.find, string.format, string.sub
local concat, floor = table.concat, math.floor
local setmetatable, tonumber, type = setmetatable, tonumber, type

local MAX_DEPTH = 512

local text, decode_value

local function fail(pos, what)
    local line, start = 1, 1
    for newline in string.gmatch(sub(text, 1, pos - 1), "()\n") do
        line, start = line + 1, newline + 1
    end
    error(format("json: line %d, column %d: %s", line, pos - start + 1, what), 0)
end

-- the position of the next character that isn't white space, and its byte (nil at the end)
local function skip(pos)
    local c = byte(text, pos)
    if c == 32 or c == 10 or c == 13 or c == 9 then
        pos = find(text, "[^ \n\r\t]", pos) or #text + 1
        c = byte(text, pos)
    end
    return pos, c
end

local function utf8_bytes(code)
    if code < 0x80 then return char(code) end
    if code < 0x800 then return char(0xC0 + floor(code / 64), 0x80 + code % 64) end
    if code < 0x10000 then
        return char(0xE0 + floor(code / 4096), 0x80 + floor(code / 64) % 64, 0x80 + code % 64)
    end
    return char(0xF0 + floor(code / 262144), 0x80 + floor(code / 4096) % 64, 0x80 + floor(code / 64) % 64, 0x80 + code % 64)
end

local plain_escapes = {
    ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t",
}

local function hex4(pos)
    local digits = string.match(text, "^[0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F]", pos)
    return digits and tonumber(digits, 16)
end

-- pos is the backslash's position; a lone surrogate becomes three bytes, which encode() escapes again
local function decode_escape(pos)
    local letter = sub(text, pos + 1, pos + 1)
    if letter ~= "u" then
        return plain_escapes[letter] or fail(pos, "no such escape in a string"), pos + 2
    end
    local code = hex4(pos + 2) or fail(pos, "\\u wants four hexadecimal digits")
    pos = pos + 6
    if code >= 0xD800 and code < 0xDC00 and sub(text, pos, pos + 1) == "\\u" then
        local low = hex4(pos + 2)
        if low and low >= 0xDC00 and low < 0xE000 then
            return utf8_bytes(0x10000 + (code - 0xD800) * 1024 + low - 0xDC00), pos + 6
        end
    end
    return utf8_bytes(code), pos
end

local function decode_string(pos)
    local start, parts = pos + 1, nil
    local from = start
    while true do
        local stop = find(text, '["\\%z\1-\31]', from)
        if not stop then fail(pos, "a string doesn't end") end
        local c = byte(text, stop)
        if c == 34 then
            local last = sub(text, from, stop - 1)
            if not parts then return last, stop + 1 end
            parts[#parts + 1] = last
            return concat(parts), stop + 1
        elseif c ~= 92 then
            fail(stop, "a control character in a string must be escaped")
        end
        parts = parts or {}
        parts[#parts + 1] = sub(text, from, stop - 1)
        parts[#parts + 1], from = decode_escape(stop)
    end
end

-- also returns the spelling if Lua's own would differ
local function decode_number(pos)
    local _, last = find(text, "^-?[0-9]+", pos)
    if not last then fail(pos, "a value is expected") end
    if find(text, "^-?0[0-9]", pos) then fail(pos, "a number can't begin with 0") end
    local integer = last
    _, last = find(text, "^%.[0-9]+", integer + 1)
    last = last or integer
    local _, exponent = find(text, "^[eE][+-]?[0-9]+", last + 1)
    last = exponent or last
    local spelling = sub(text, pos, last)
    if last == integer and #spelling < 16 and spelling ~= "-0" then return tonumber(spelling), last + 1 end
    return tonumber(spelling), last + 1, spelling
end

local function decode_array(pos, depth)
    local array, n, raw, c = {}, 0, nil, nil
    pos, c = skip(pos + 1)
    if c == 93 then return array, pos + 1 end
    while true do
        local value, after, spelling = decode_value(pos, depth)
        n = n + 1
        if value == nil then value = null end
        array[n] = value
        if spelling then
            raw = raw or {}
            raw[n] = spelling
        end
        pos, c = skip(after)
        if c == 93 then
            if raw then setmetatable(array, { __jsontype = "array", raw = raw }) end
            return array, pos + 1
        elseif c ~= 44 then
            fail(pos, "',' or ']' is expected")
        end
        pos = skip(pos + 1)
    end
end

local function decode_object(pos, depth)
    local object, keys, raw, nulls, c = {}, {}, nil, nil, nil
    local meta = { __jsontype = "object", keys = keys }
    pos, c = skip(pos + 1)
    if c == 125 then return setmetatable(object, meta), pos + 1 end
    while true do
        if c ~= 34 then fail(pos, "a key in double quotes is expected") end
        local key, value, spelling
        key, pos = decode_string(pos)
        pos, c = skip(pos)
        if c ~= 58 then fail(pos, "':' is expected") end
        pos = skip(pos + 1)
        value, pos, spelling = decode_value(pos, depth)
        keys[#keys + 1] = key
        object[key] = value
        if value == nil then
            nulls = nulls or {}
            nulls[key] = true
        elseif spelling then
            raw = raw or {}
            raw[key] = spelling
        end
        pos, c = skip(pos)
        if c == 125 then
            meta.raw, meta.nulls = raw, nulls
            return setmetatable(object, meta), pos + 1
        elseif c ~= 44 then
            fail(pos, "',' or '}' is expected")
        end
        pos, c = skip(pos + 1)
    end
end

function decode_value(pos, depth)
    local c = byte(text, pos)
    if c == 34 then return decode_string(pos) end
    if c == 123 or c == 91 then
        if depth >= MAX_DEPTH then fail(pos, "nested too deep") end
        return (c == 123 and decode_object or decode_array)(pos, depth + 1)
    end
    if c == 116 and sub(text, pos, pos + 3) == "true" then return true, pos + 4 end
    if c == 102 and sub(text, pos, pos + 4) == "false" then return false, pos + 5 end
    if c == 110 and sub(text, pos, pos + 3) == "null" then return nil, pos + 4 end
    return decode_number(pos)
end

local function decode(source)
    if type(source) ~= "string" then error("json: a string is expected, not " .. type(source), 0) end
    text = source
    local pos, c = skip(1)
    if not c then fail(pos, "there is no value") end
    local value
    value, pos = decode_value(pos, 0)
    pos, c = skip(pos)
    if c then fail(pos, "there is more after the value") end
    text = nil
    return value
end

return decode
