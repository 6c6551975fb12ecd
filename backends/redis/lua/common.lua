-- What all scripts share: the engine's clock, the layout of records (record.h), and the index.
local call, try = redis.call, redis.pcall
local sub, byte, floor = string.sub, string.byte, math.floor
local HEAD, LAST, NONE4, NONE8 = 56, '35', '\0\0\0\0', '\0\0\0\0\0\0\0\0'
local PLAIN_HEAD, STAMP_LAST = 28, '7' -- of a plain record
local CHUNK = 500 -- how many arguments go into one command; unpack has a bound

local function u64(bytes, at)
    return (struct.unpack('<I8', bytes, at))
end

local clock
local function now_ms()
    if not clock then
        local time = call('TIME')
        clock = time[1] * 1000 + floor(time[2] / 1000)
    end
    return clock
end

-- The least score of what is live: nadbd takes a key for gone from its deadline on, the engine only
-- behind it, so in that millisecond the engine still has the record.
local function after_now()
    return '(' .. now_ms()
end

-- A full one, by its first bytes, up to LAST: all that is looked at here, but for the tags. It is
-- text, as are other numbers of commands: the engine takes long to make text of a number.
local function is_record(head)
    return #head >= 36 and byte(head, 1) == 2
end

-- The name of a key's plain record, by that of the full one.
local function plain_of(name)
    local base_end = string.find(name, '}', 1, true)
    return sub(name, 1, base_end) .. 'p' .. sub(name, base_end + 2)
end

-- What the index of keys has of a plain record that was created then, and back.
local function score_of_plain(created_ms)
    return string.format('%.0f', -1 - created_ms)
end

local function created_of_plain(keys, key)
    local score = call('ZSCORE', keys, key)
    return score and math.max(-1 - tonumber(score), 0) or 0
end

-- Keys of the index that are live: plain ones, and those whose time is not over.
local function live_keys(keys)
    local list = call('ZRANGEBYSCORE', keys, '-inf', '(0')
    local others = call('ZRANGEBYSCORE', keys, after_now(), '+inf')
    if #list == 0 then
        return others
    end
    for i = 1, #others do
        list[#list + 1] = others[i]
    end
    return list
end

local function count_plain(keys)
    return call('ZCOUNT', keys, '-inf', '(0')
end

local function count_live(keys)
    return count_plain(keys) + call('ZCOUNT', keys, after_now(), '+inf')
end

-- Reads a record: bytes, the time of creation, seconds of idleness. The time is -1 of a full one:
-- it is in the bytes. Of its value, with `is_whole` only. No bytes: there is none.
local function read_record(base, space, key, is_whole)
    local name = base .. 'r:' .. space .. key
    local idle = try('OBJECT', 'IDLETIME', name)
    local bytes = is_whole and (call('GET', name) or '') or call('GETRANGE', name, '0', HEAD - 1)
    if bytes ~= '' then
        if not is_whole and is_record(bytes) then
            bytes = bytes .. call('GETRANGE', name, HEAD, HEAD + struct.unpack('<I4', bytes, 5) - 1)
        end
        return bytes, -1, type(idle) == 'number' and idle or -1
    end
    name = base .. 'p:' .. space .. key
    idle = try('OBJECT', 'IDLETIME', name)
    bytes = is_whole and (call('GET', name) or '') or call('GETRANGE', name, '0', PLAIN_HEAD - 1)
    if bytes ~= '' then
        return bytes, created_of_plain(base .. 'k:' .. space, key),
            type(idle) == 'number' and idle or -1
    end
end

local function unpack_tags(packed)
    local tags, at, len = {}, 1, #packed
    while at < len do
        local low, high = byte(packed, at, at + 1)
        local tag_len = low + high * 256
        tags[#tags + 1] = sub(packed, at + 2, at + 1 + tag_len)
        at = at + 2 + tag_len
    end
    return tags
end

-- Tags of a record by its first bytes. Of what is no record they are not known: any of them.
local function tags_of(base, space, name, head)
    if head == '' then
        return {}
    end
    if not is_record(head) then
        return call('SMEMBERS', base .. 'T:' .. space)
    end
    if sub(head, 5, 8) == NONE4 then
        return {}
    end
    local len = struct.unpack('<I4', head, 5)
    return unpack_tags(call('GETRANGE', name, HEAD, HEAD + len - 1))
end

-- Takes keys out of a tag; the tag itself goes with its last key.
local function drop_members(base, space, tag, keys)
    local name, gone = base .. 't:' .. space .. tag, 0
    for i = 1, #keys, CHUNK do
        gone = gone + call('ZREM', name, unpack(keys, i, math.min(i + CHUNK - 1, #keys)))
    end
    if gone > 0 and call('EXISTS', name) == 0 then
        call('SREM', base .. 'T:' .. space, tag)
    end
end

-- Removes records with everything of theirs. A key whose record has gone without us (evicted) is
-- taken out of the tags that are named.
local function remove_all(base, space, keys, named)
    local names, keys_by_tag = {}, {}
    for i = 1, #keys do
        local name = base .. 'r:' .. space .. keys[i]
        local head = try('GETRANGE', name, '0', LAST)
        local tags = type(head) ~= 'string' and named or head == '' and named
            or tags_of(base, space, name, head)
        if head == '' and call('EXISTS', plain_of(name)) == 1 then
            name, tags = plain_of(name), {}
        end
        names[#names + 1] = name
        for j = 1, #tags do
            local list = keys_by_tag[tags[j]]
            if not list then
                list = {}
                keys_by_tag[tags[j]] = list
            end
            list[#list + 1] = keys[i]
        end
    end
    for i = 1, #names, CHUNK do
        call('UNLINK', unpack(names, i, math.min(i + CHUNK - 1, #names)))
    end
    for i = 1, #keys, CHUNK do
        call('ZREM', base .. 'k:' .. space, unpack(keys, i, math.min(i + CHUNK - 1, #keys)))
    end
    for tag, list in pairs(keys_by_tag) do
        drop_members(base, space, tag, list)
    end
end

-- The text of an error of the engine's, without what older ones put in front of it.
local function error_text(reply)
    return (string.gsub(string.gsub(reply.err, '^@?[%w_]+: %d+: ', ''), '^%-', ''))
end
