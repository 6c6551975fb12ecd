-- Runs commits, one after the other. ARGV: items, each of which begins with its meta:
--
--     op, flags (1: the last of its commit), 8 bytes
--
--     'c' name                         the record has the stamp in the 8 bytes (0: there is none)
--     'e' name, member                 the epoch of the member of this set is the 8 bytes
--     'P' name, begin, created, rest   the three are now the record; meta ends in its deadline
--     'p' the same                     but for the time of its creation, if there is a record
--     'D' name                         there is no record
--
--     'G', then two bytes: how many, then 12 bytes for each: created
--                                      as many names, and then what is behind that of each record:
--                                      each is a commit with one 'p' that begins with PLAIN
--
-- Gives 1 when all of them went well (2: and what groups replaced was big); else for each 1, 0 (a check did not hold) or an error.
--
-- What may fail for reasons of the engine fails at the first write, an idle one: behind it this
-- engine refuses no write for want of memory, so a record and its index never get out of step.
local probe, full = try('SETRANGE', KEYS[1], '0', ''), nil
if type(probe) == 'table' then
    full = error_text(probe)
    if sub(full, 1, 4) ~= 'OOM ' then
        return redis.error_reply(full)
    end
end

local CHECK, EPOCH, PUT, DELETE, GROUP = 99, 101, 80, 68, 71
local BIG = 32768 -- bytes that were read to be replaced by little
local noted_spaces, noted_tags = {}, {}

-- Base, space and key of a record's name (names.h).
local function split(name)
    local base_end = string.find(name, '}', 1, true)
    local _, space_end = string.find(name, '^%d+:', base_end + 3)
    if not space_end then
        local _, number_end, len = string.find(name, '^%d+%.(%d+)%.', base_end + 3)
        space_end = number_end + tonumber(len) + 1
    end
    return sub(name, 1, base_end), sub(name, base_end + 3, space_end), sub(name, space_end + 1)
end

local function delete(name, old)
    if old == '' then
        return
    end
    local base, space, key = split(name)
    local tags = tags_of(base, space, name, old)
    call('UNLINK', name)
    call('ZREM', base .. 'k:' .. space, key)
    for i = 1, #tags do
        noted_tags[base .. 't:' .. space .. tags[i]] = nil
        drop_members(base, space, tags[i], {key})
    end
end

local function note_space(base, space)
    local id = base .. space
    if not noted_spaces[id] then
        noted_spaces[id] = true
        call('SADD', base .. 'n', space)
    end
end

local function add_member(base, space, tag, key, score)
    local name = base .. 't:' .. space .. tag
    call('ZADD', name, score, key)
    if not noted_tags[name] then
        noted_tags[name] = true
        call('SADD', base .. 'T:' .. space, tag)
    end
end

-- `begin`, `created`, `rest`: the record in its parts; `at`: its deadline, as text, or ''.
local function put(name, keeps, begin, created, rest, at, old)
    if at ~= '' and tonumber(at) <= now_ms() then
        return delete(name, old)
    end
    local is_known = is_record(old)
    if is_known and keeps then
        created = sub(old, 17, 28)
    end
    local is_same_time = is_known and sub(old, 9, 16) == sub(begin, 9, 16)
    local base, space, key = split(name)
    local old_tags, left = tags_of(base, space, name, old), {}
    if at ~= '' then
        call('SET', name, begin .. created .. rest, 'PXAT', at)
    else
        call('SET', name, begin .. created .. rest)
        at = '+inf'
    end
    if not is_same_time then
        call('ZADD', base .. 'k:' .. space, at, key)
        note_space(base, space)
    end
    for i = 1, #old_tags do
        left[old_tags[i]] = true
    end
    local tags_at = HEAD - 28 + 1
    local tags = unpack_tags(sub(rest, tags_at, tags_at - 1 + struct.unpack('<I4', begin, 5)))
    for i = 1, #tags do
        if not (is_same_time and left[tags[i]]) then
            add_member(base, space, tags[i], key, at)
        end
        left[tags[i]] = nil
    end
    for tag in pairs(left) do
        noted_tags[base .. 't:' .. space .. tag] = nil
        drop_members(base, space, tag, {key})
    end
end

-- How many arguments an item has, its meta included: by the code of its op.
local ARGS = {[99] = 2, [101] = 3, [80] = 5, [112] = 5, [68] = 2}

local heads = {}

-- The first bytes of a record as the commit at hand has left it; an error of the engine is raised.
local function head_of(name)
    local head = heads[name]
    if not head then
        head = call('GETRANGE', name, '0', LAST)
        heads[name] = head
    end
    return head
end

local function does_hold(at, op)
    local meta, name = ARGV[at], ARGV[at + 1]
    local want = sub(meta, 3, 10)
    if op == CHECK then
        local head = head_of(name)
        return want == NONE8 and head == '' or sub(head, 29, 36) == want
    end
    local member = ARGV[at + 2]
    local score = call('ZSCORE', name, member)
        or byte(member, 1) == 116 and call('ZSCORE', name, 'h') or 0
    return tonumber(score) == u64(want, 1)
end

-- Can the items from `first` on be done? 1, 0 or an error; and where the next commit begins.
local function examine(first)
    local at, verdict = first, 1
    while true do
        local op, flags = byte(ARGV[at], 1, 2)
        if op == CHECK or op == EPOCH then
            if verdict == 1 and not does_hold(at, op) then
                verdict = 0
            end
        else
            head_of(ARGV[at + 1])
            if op ~= DELETE and full and verdict == 1 then
                verdict = full
            end
        end
        at = at + ARGS[op]
        if flags == 1 then
            return verdict, at
        end
    end
end

local function change(at)
    local op, name = byte(ARGV[at], 1), ARGV[at + 1]
    if op == DELETE then
        delete(name, head_of(name))
        heads[name] = nil
    elseif op ~= CHECK and op ~= EPOCH then
        put(name, op ~= PUT, ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], sub(ARGV[at], 11),
            head_of(name))
        heads[name] = nil
    end
    return at + ARGS[op]
end

local function commit(first)
    local verdict, stop = examine(first)
    local at = first
    while verdict == 1 and at < stop do
        at = change(at)
    end
    return verdict
end

-- One blind change.
local function commit_single(at, op)
    local name = ARGV[at + 1]
    local old = call('GETRANGE', name, '0', LAST)
    if op == DELETE then
        delete(name, old)
    elseif full then
        return full
    else
        put(name, op ~= PUT, ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], sub(ARGV[at], 11), old)
    end
    return 1
end

local function stop_of(at)
    while true do
        local op, flags = byte(ARGV[at], 1, 2)
        at = at + ARGS[op]
        if flags == 1 then
            return at
        end
    end
end

local function verdict_of(went, verdict)
    if not went then
        return error_text(type(verdict) == 'table' and verdict or {err = verdict})
    end
    return verdict
end

-- The commit at `at`: its verdict.
local function run(at, op, flags)
    if flags == 1 and op ~= CHECK and op ~= EPOCH then
        return verdict_of(pcall(commit_single, at, op))
    end
    heads = {}
    return verdict_of(pcall(commit, at))
end

local results, count, was_big = nil, 0, false

local function add_verdict(verdict)
    if verdict ~= 1 and not results then
        results = {}
        for i = 1, count do
            results[i] = 1
        end
    end
    count = count + 1
    if results then
        results[count] = verdict
    end
end

local function put_plain(name, created, rest)
    put(name, true, PLAIN, created, rest, '', call('GETRANGE', name, '0', LAST))
    return 1
end

-- Replaces one plain record by another: what stays is its beginning. The old one may have been
-- replaced since it was looked at, by an earlier one of the group: the length that is left tells.
local function replace(name, old, rest)
    local len, reply = 28 + #rest, nil
    if #old <= len then
        reply = try('SETRANGE', name, '28', rest)
    end
    if not reply or type(reply) == 'number' and reply ~= len then
        reply = try('SET', name, PLAIN .. sub(old, 17, 28) .. rest)
    end
    return type(reply) == 'table' and reply.err and error_text(reply) or 1
end

-- Most of all commits: without a check, a tag, a deadline. What replaces one that has neither tag
-- nor deadline leaves the index as it is, and all of those are looked at by one command.
local function run_group(at, size)
    local names_at, bytes = at + 1, 0
    local olds = full and {} or call('MGET', unpack(ARGV, names_at, names_at + size - 1))
    for i = 1, size do
        local name, rest, old = ARGV[at + i], ARGV[at + size + i], olds[i]
        if full then
            add_verdict(full)
        elseif old and sub(old, 1, 16) == PLAIN then
            bytes = bytes + #old
            add_verdict(replace(name, old, rest))
        else
            local created = sub(ARGV[at], 12 * i - 8, 12 * i + 3)
            add_verdict(verdict_of(pcall(put_plain, name, created, rest)))
        end
    end
    was_big = was_big or bytes > BIG
end

local at, last = 1, #ARGV
while at <= last do
    local op, flags, high = byte(ARGV[at], 1, 3)
    if op == GROUP then
        local size = flags + high * 256
        run_group(at, size)
        at = at + 1 + 2 * size
    else
        add_verdict(run(at, op, flags))
        at = stop_of(at)
    end
end
return results or was_big and 2 or 1
