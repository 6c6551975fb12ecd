-- Runs commits, one after the other. ARGV: items, each of which begins with its meta:
--
--     op, flags (1: the last of its commit), u16 length of the base, u16 of the space, 8 bytes
--
--     'c' name                         the record has the stamp in the 8 bytes (0: there is none)
--     'e' name, member                 the epoch of the member of this set is the 8 bytes
--     'P' name, begin, created, rest   the three are now the record; meta ends in its deadline
--     'p' the same                     but for the time of its creation, if there is a record
--     'Q' name, created, rest          as 'p', begins with PLAIN, and is alone in its commit
--     'D' name                         there is no record
--
-- Gives 1 when all of them went well; else for each 1, 0 (a check did not hold) or an error.
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

local CHECK, EPOCH, PUT, PUT_PLAIN, DELETE = 99, 101, 80, 81, 68
local noted_spaces, noted_tags = {}, {}

local function split(name, meta)
    local _, _, b0, b1, s0, s1 = byte(meta, 1, 6)
    local base_len = b0 + b1 * 256
    local key_at = base_len + 3 + s0 + s1 * 256
    return sub(name, 1, base_len), sub(name, base_len + 3, key_at - 1), sub(name, key_at)
end

local function delete(name, meta, old)
    if old == '' then
        return
    end
    local base, space, key = split(name, meta)
    local tags = tags_of(base, space, name, old)
    call('UNLINK', name)
    call('ZREM', base .. 'k:' .. space, key)
    for i = 1, #tags do
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
local function put(name, meta, begin, created, rest, at, old)
    if at ~= '' and tonumber(at) <= now_ms() then
        return delete(name, meta, old)
    end
    local is_known = is_record(old)
    if is_known and byte(meta, 1) ~= PUT then
        created = sub(old, 17, 28)
    end
    local is_same_time = is_known and sub(old, 9, 16) == sub(begin, 9, 16)
    local base, space, key = split(name, meta)
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
local ARGS = {[99] = 2, [101] = 3, [80] = 5, [112] = 5, [81] = 4, [68] = 2}

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
    local want = sub(meta, 7, 14)
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
        delete(name, ARGV[at], head_of(name))
        heads[name] = nil
    elseif op ~= CHECK and op ~= EPOCH then
        put(name, ARGV[at], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], sub(ARGV[at], 15),
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

-- One blind change: what most commits are.
local function commit_single(at, op)
    local name = ARGV[at + 1]
    local old = call('GETRANGE', name, '0', LAST)
    if op == DELETE then
        delete(name, ARGV[at], old)
    elseif full then
        return full
    elseif op == PUT_PLAIN then
        put(name, ARGV[at], PLAIN, ARGV[at + 2], ARGV[at + 3], '', old)
    else
        put(name, ARGV[at], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], sub(ARGV[at], 15), old)
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

-- The commit at `at`: its verdict.
local function run(at, op, flags)
    local went, verdict
    if flags == 1 and op ~= CHECK and op ~= EPOCH then
        went, verdict = pcall(commit_single, at, op)
    else
        heads = {}
        went, verdict = pcall(commit, at)
    end
    if not went then
        return error_text(type(verdict) == 'table' and verdict or {err = verdict})
    end
    return verdict
end

local results, count, at, last = nil, 0, 1, #ARGV
while at <= last do
    local op, flags = byte(ARGV[at], 1, 2)
    local verdict = 1
    local old = op == PUT_PLAIN and not full and try('GETRANGE', ARGV[at + 1], '0', LAST)
    if old and type(old) == 'string' and sub(old, 1, 16) == PLAIN then
        -- In place of one with the same place in the index: most of all commits.
        local reply = try('SET', ARGV[at + 1], PLAIN .. sub(old, 17, 28) .. ARGV[at + 3])
        verdict = reply.err and error_text(reply) or 1
        at = at + 4
    else
        verdict = run(at, op, flags)
        at = stop_of(at)
    end
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
return results or 1
