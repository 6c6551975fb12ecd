-- What a selector selects in a partition. ARGV: base, space, mode, records_max, epoch, epochs_max,
-- '' or '=' and a pattern for keys, then the program: 't<tag>', '*', '!', '&', '|'.
--
--     count    how many
--     heads    {how many, key, first bytes with tags, created (-1: in the bytes), idle seconds...}
--     records  the same with all bytes
--     remove   how many were removed, and the epoch is noted
--
-- With more than records_max there is only how many.
local base, space, mode = ARGV[1], ARGV[2], ARGV[3]
local records_max, pattern, FIRST = tonumber(ARGV[4]), ARGV[7], 8

if mode == 'remove' then
    call('UNLINK', KEYS[1]) -- an idle write: behind it none is refused for want of memory
end

local function live_of(name)
    return call('ZRANGEBYSCORE', name, after_now(), '+inf')
end

local function set_of(list)
    local set = {}
    for i = 1, #list do
        set[list[i]] = true
    end
    return set
end

local function named_tags()
    local tags = {}
    for i = FIRST, #ARGV do
        if byte(ARGV[i], 1) == 116 then
            tags[#tags + 1] = sub(ARGV[i], 2)
        end
    end
    return tags
end

-- A set is a table of keys, or with `is_rest` all keys but those: so nothing needs all keys before
-- the end, and seldom then.
local function union(a, b)
    for key in pairs(b) do
        a[key] = true
    end
    return a
end

local function without(a, b)
    for key in pairs(b) do
        a[key] = nil
    end
    return a
end

local function common(a, b)
    local both = {}
    for key in pairs(a) do
        both[key] = b[key]
    end
    return both
end

local function both_of(a, b)
    if a.is_rest and b.is_rest then
        return {is_rest = true, keys = union(a.keys, b.keys)}
    elseif a.is_rest then
        return {keys = without(b.keys, a.keys)}
    elseif b.is_rest then
        return {keys = without(a.keys, b.keys)}
    end
    return {keys = common(a.keys, b.keys)}
end

local function either_of(a, b)
    if a.is_rest and b.is_rest then
        return {is_rest = true, keys = common(a.keys, b.keys)}
    elseif a.is_rest then
        return {is_rest = true, keys = without(a.keys, b.keys)}
    elseif b.is_rest then
        return {is_rest = true, keys = without(b.keys, a.keys)}
    end
    return {keys = union(a.keys, b.keys)}
end

local function run_program()
    local stack, top, lists = {}, 0, {}
    for i = FIRST, #ARGV do
        local op = sub(ARGV[i], 1, 1)
        if op == 't' then
            top = top + 1
            local tag = ARGV[i]
            lists[tag] = lists[tag] or live_of(base .. 't:' .. space .. sub(tag, 2))
            stack[top] = {keys = set_of(lists[tag])}
        elseif op == '*' then
            top = top + 1
            stack[top] = {is_rest = true, keys = {}}
        elseif op == '!' then
            stack[top].is_rest = not stack[top].is_rest
        else
            top = top - 1
            stack[top] = (op == '&' and both_of or either_of)(stack[top], stack[top + 1])
        end
    end
    local list = {}
    if stack[1].is_rest then
        local all = live_keys(base .. 'k:' .. space)
        for i = 1, #all do
            if not stack[1].keys[all[i]] then
                list[#list + 1] = all[i]
            end
        end
    else
        for key in pairs(stack[1].keys) do
            list[#list + 1] = key
        end
    end
    return list
end

local function is_all_of()
    for i = FIRST, #ARGV do
        local op = sub(ARGV[i], 1, 1)
        if op ~= 't' and op ~= '&' then
            return false
        end
    end
    return true
end

-- All of some tags: the keys of the rarest, held against the others.
local function select_all_of(tags)
    local names = {}
    for i = 1, #tags do
        names[i] = {name = base .. 't:' .. space .. tags[i]}
        names[i].count = call('ZCARD', names[i].name)
    end
    table.sort(names, function(a, b) return a.count < b.count end)
    local list = live_of(names[1].name)
    for i = 2, #names do
        local kept = {}
        for j = 1, #list, CHUNK do
            local last = math.min(j + CHUNK - 1, #list)
            local scores = call('ZMSCORE', names[i].name, unpack(list, j, last))
            for k = 1, last - j + 1 do
                if scores[k] then
                    kept[#kept + 1] = list[j + k - 1]
                end
            end
        end
        list = kept
    end
    return list
end

-- Patterns as src/base/glob.c matches them; `at` is in the pattern. Does the class that begins there
-- have the byte, and where does it end?
local function match_class(at, c)
    local len, matched = #pattern, false
    local negated = byte(pattern, at + 1) == 94
    at = at + (negated and 2 or 1)
    while at <= len and byte(pattern, at) ~= 93 do
        local a, dash, b = byte(pattern, at, at + 2)
        if a == 92 and at < len then
            matched = matched or dash == c
            at = at + 2
        elseif dash == 45 and at + 2 <= len then
            matched = matched or a <= b and a <= c and c <= b or a > b and b <= c and c <= a
            at = at + 3
        else
            matched = matched or a == c
            at = at + 1
        end
    end
    return matched ~= negated, at <= len and at + 1 or at
end

-- Does the element there, no star, match the byte, and where does it end?
local function match_one(at, c)
    local p = byte(pattern, at)
    if p == 63 then
        return true, at + 1
    elseif p == 91 then
        return match_class(at, c)
    elseif p == 92 and at < #pattern then
        at = at + 1
    end
    return byte(pattern, at) == c, at + 1
end

local function match(text)
    local at, t, after_star, star_end = 2, 1, nil, nil
    while t <= #text do
        local p = byte(pattern, at)
        if p == 42 then
            at = at + 1
            after_star, star_end = at, t
        else
            local matched, next_at = false, at
            if p then
                matched, next_at = match_one(at, byte(text, t))
            end
            if matched then
                at, t = next_at, t + 1
            elseif after_star then
                at, star_end = after_star, star_end + 1
                t = star_end
            else
                return false
            end
        end
    end
    while byte(pattern, at) == 42 do
        at = at + 1
    end
    return at > #pattern
end

local function matching(list)
    if pattern == '' then
        return list
    end
    local kept = {}
    for i = 1, #list do
        if match(list[i]) then
            kept[#kept + 1] = list[i]
        end
    end
    return kept
end

local function records_of(list)
    local reply = {#list}
    for i = 1, #list do
        local bytes, created, idle = read_record(base, space, list[i], mode == 'records')
        if bytes then
            local at = #reply
            reply[at + 1] = list[i]
            reply[at + 2] = bytes
            reply[at + 3] = created
            reply[at + 4] = idle
        end
    end
    return reply
end

-- The epoch of each tag that is named; the oldest are forgotten, but not how old they were.
local function note_epochs(tags)
    local name, epoch, epochs_max = base .. 'e:' .. space, ARGV[5], tonumber(ARGV[6])
    for i = 1, #tags do
        call('ZADD', name, 'GT', epoch, 't' .. tags[i])
    end
    local count = call('ZCARD', name)
    local reserved = (call('ZSCORE', name, 'h') and 1 or 0) + (call('ZSCORE', name, 'a') and 1 or 0)
    local excess = count - reserved - epochs_max
    if excess <= 0 then
        return
    end
    local horizon, oldest = nil, call('ZRANGE', name, 0, excess + reserved - 1, 'WITHSCORES')
    for i = 1, #oldest, 2 do
        if byte(oldest[i], 1) == 116 and excess > 0 then
            call('ZREM', name, oldest[i])
            excess, horizon = excess - 1, oldest[i + 1]
        end
    end
    call('ZADD', name, 'GT', horizon, 'h')
end

local tags = named_tags()
local list = matching(is_all_of() and select_all_of(tags) or run_program())
if mode == 'remove' then
    remove_all(base, space, list, tags)
    note_epochs(tags)
    return #list
end
if mode == 'count' or #list > records_max then
    return {#list}
end
return records_of(list)
