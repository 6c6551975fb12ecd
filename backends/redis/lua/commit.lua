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
-- Names are those of full records; what `begin` says is plain goes under the plain one. Gives 1 when
-- all of them went well; else for each 1, 0 (a check did not hold) or an error.
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

local CHECK, EPOCH, PUT, DELETE = 99, 101, 80, 68
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

-- What a key has: the first bytes of its record, '' for none; and the name of its plain one if the
-- full one is not there.
local function look(name)
    local head = call('GETRANGE', name, '0', LAST)
    if head ~= '' then
        return head
    end
    local plain = plain_of(name)
    return call('GETRANGE', plain, '0', STAMP_LAST), plain
end

local function drop_tags(base, space, key, tags)
    for i = 1, #tags do
        noted_tags[base .. 't:' .. space .. tags[i]] = nil
        drop_members(base, space, tags[i], {key})
    end
end

local function delete(name, old, plain)
    if old == '' then
        return
    end
    local base, space, key = split(name)
    local tags = plain and {} or tags_of(base, space, name, old)
    call('UNLINK', plain or name)
    call('ZREM', base .. 'k:' .. space, key)
    drop_tags(base, space, key, tags)
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

-- The time of creation as a full record has it (record.h).
local function created_bytes(ms)
    local low = ms % 4294967296
    local high = (ms - low) / 4294967296
    return struct.pack('<I4I4I4', (low + high) % 4294967296, low, high)
end

-- A plain record. `old`, `plain`: see look.
local function put_plain(name, keeps, created, rest, old, plain)
    if plain and old ~= '' and keeps then
        call('SET', plain, rest)
        return
    end
    local base, space, key = split(name)
    if not plain then
        local tags = tags_of(base, space, name, old)
        plain = plain_of(name)
        call('UNLINK', name)
        drop_tags(base, space, key, tags)
        created = keeps and is_record(old) and sub(old, 17, 28) or created
    end
    call('SET', plain, rest)
    call('ZADD', base .. 'k:' .. space, score_of_plain(u64(created, 5)), key)
    note_space(base, space)
end

-- A full record, by its parts; `at`: its deadline, as text, or ''.
local function put_full(name, keeps, begin, created, rest, at, old, plain)
    local base, space, key = split(name)
    local keys = base .. 'k:' .. space
    local is_known = not plain and is_record(old)
    if is_known and keeps then
        created = sub(old, 17, 28)
    elseif plain and old ~= '' then
        created = keeps and created_bytes(created_of_plain(keys, key)) or created
        call('UNLINK', plain)
    end
    local is_same_time = is_known and sub(old, 9, 16) == sub(begin, 9, 16)
    local old_tags, left = plain and {} or tags_of(base, space, name, old), {}
    if at ~= '' then
        call('SET', name, begin .. created .. rest, 'PXAT', at)
    else
        call('SET', name, begin .. created .. rest)
        at = '+inf'
    end
    if not is_same_time then
        call('ZADD', keys, at, key)
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
        drop_tags(base, space, key, {tag})
    end
end

local function put(at, op, name, old, plain)
    local begin, deadline = ARGV[at + 2], sub(ARGV[at], 11)
    if deadline ~= '' and tonumber(deadline) <= now_ms() then
        delete(name, old, plain)
    elseif deadline == '' and sub(begin, 5, 8) == NONE4 then
        put_plain(name, op ~= PUT, ARGV[at + 3], ARGV[at + 4], old, plain)
    else
        put_full(name, op ~= PUT, begin, ARGV[at + 3], ARGV[at + 4], deadline, old, plain)
    end
end

-- How many arguments an item has, its meta included: by the code of its op.
local ARGS = {[99] = 2, [101] = 3, [80] = 5, [112] = 5, [68] = 2}

local heads, plains = {}, {}

-- The same as look, as the commit at hand has left it; an error of the engine is raised.
local function look_again(name)
    if not heads[name] then
        heads[name], plains[name] = look(name)
    end
    return heads[name], plains[name]
end

local function does_hold(at, op)
    local meta, name = ARGV[at], ARGV[at + 1]
    local want = sub(meta, 3, 10)
    if op == CHECK then
        local head, plain = look_again(name)
        return (head == '' and NONE8 or plain and head or sub(head, 29, 36)) == want
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
            look_again(ARGV[at + 1])
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
    if op ~= CHECK and op ~= EPOCH then
        local old, plain = look_again(name)
        heads[name], plains[name] = nil, nil
        if op == DELETE then
            delete(name, old, plain)
        else
            put(at, op, name, old, plain)
        end
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
    local old, plain = look(name)
    if op == DELETE then
        delete(name, old, plain)
    elseif full then
        return full
    else
        put(at, op, name, old, plain)
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
    heads, plains = {}, {}
    return verdict_of(pcall(commit, at))
end

local results, count = nil, 0

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

local at, last = 1, #ARGV
while at <= last do
    local op, flags = byte(ARGV[at], 1, 2)
    add_verdict(run(at, op, flags))
    at = stop_of(at)
end
return results or 1
