-- A stretch of the keys of a keyspace. ARGV: space, cursor, count, bases; the cursor belongs to the
-- first base. Gives how many bases are done, the cursor in the next, keys. Count 0: all keys.
local space, cursor, count = ARGV[1], ARGV[2], tonumber(ARGV[3])
local reply = {0, '0'}

if count == 0 then
    for i = 4, #ARGV do
        local list = live_keys(ARGV[i] .. 'k:' .. space)
        for j = 1, #list do
            reply[#reply + 1] = list[j]
        end
    end
    reply[1] = #ARGV - 3
    return reply
end

local seen = 0
for i = 4, #ARGV do
    local name = ARGV[i] .. 'k:' .. space
    repeat
        local part = call('ZSCAN', name, cursor, 'COUNT', count)
        cursor = part[1]
        for j = 1, #part[2], 2 do
            local score = tonumber(part[2][j + 1])
            if score < 0 or score > now_ms() then
                reply[#reply + 1] = part[2][j]
            end
        end
        seen = seen + math.max(#part[2] / 2, 1)
    until cursor == '0' or seen >= count
    if cursor ~= '0' then
        reply[2] = cursor
        return reply
    end
    reply[1] = reply[1] + 1
    if seen >= count then
        return reply
    end
end
return reply
