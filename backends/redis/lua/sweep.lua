-- Takes members whose time is over out of the index of one keyspace of a partition. ARGV: base, the
-- space that was last, the cursor among its tags ('' when it is done with), how many at most. Gives
-- how many went, the space and the cursor to go on with; space '': that was the last one.
local base, last, cursor, limit = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local removed = 0

call('UNLINK', KEYS[1]) -- an idle write: behind it none is refused for want of memory

local function due_of(name)
    return call('ZRANGEBYSCORE', name, '0', '(' .. now_ms(), 'LIMIT', 0, limit - removed)
end

local function next_space()
    local spaces = call('SMEMBERS', base .. 'n')
    table.sort(spaces)
    for i = 1, #spaces do
        if spaces[i] > last then
            return spaces[i]
        end
    end
end

local function sweep_keys(space)
    local name = base .. 'k:' .. space
    local due = due_of(name)
    for i = 1, #due do
        local head = call('GETRANGE', base .. 'r:' .. space .. due[i], '0', LAST)
        if head == '' then
            removed = removed + call('ZREM', name, due[i])
        elseif is_record(head) then
            local at = u64(head, 9)
            call('ZADD', name, at > 0 and at or '+inf', due[i])
        end
    end
end

local function sweep_tag(space, tag)
    local name = base .. 't:' .. space .. tag
    local due = due_of(name)
    for i = 1, #due, CHUNK do
        local chunk_end = math.min(i + CHUNK - 1, #due)
        removed = removed + call('ZREM', name, unpack(due, i, chunk_end))
    end
    if call('EXISTS', name) == 0 then
        call('SREM', base .. 'T:' .. space, tag)
    end
end

local space = cursor ~= '' and last or next_space()
if not space then
    return {0, '', ''}
end
if cursor == '' then
    sweep_keys(space)
    cursor = '0'
end
local part = call('SSCAN', base .. 'T:' .. space, cursor, 'COUNT', 50)
for i = 1, #part[2] do
    if removed >= limit then
        return {removed, space, cursor}
    end
    sweep_tag(space, part[2][i])
end
if part[1] ~= '0' then
    return {removed, space, part[1]}
end
if call('EXISTS', base .. 'k:' .. space) + call('EXISTS', base .. 'T:' .. space) == 0 then
    call('SREM', base .. 'n', space)
end
return {removed, space, ''}
