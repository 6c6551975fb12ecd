-- How many keys keyspaces have. ARGV: the space, or '' for all of them; bases. Gives for each:
-- space, keys, those with a deadline, and the milliseconds left to those together. The last is
-- drawn from SAMPLES of them at equal distances, so with more it is near and not exact.
local SAMPLES = 16

local function ttl_sum(name, first, count)
    local samples, sum = math.min(count, SAMPLES), 0
    for i = 0, samples - 1 do
        local rank = first + floor((i + 0.5) * count / samples)
        local pair = call('ZRANGE', name, rank, rank, 'WITHSCORES')
        sum = sum + tonumber(pair[2]) - now_ms()
    end
    return samples > 0 and floor(sum / samples * count) or 0
end

local reply = {}
for i = 2, #ARGV do
    local base = ARGV[i]
    local spaces = ARGV[1] ~= '' and {ARGV[1]} or call('SMEMBERS', base .. 'n')
    for j = 1, #spaces do
        local name = base .. 'k:' .. spaces[j]
        local live = count_live(name)
        if live > 0 then
            local expires = call('ZCOUNT', name, after_now(), '(inf')
            local at = #reply
            reply[at + 1] = spaces[j]
            reply[at + 2] = live
            reply[at + 3] = expires
            reply[at + 4] = ttl_sum(name, call('ZCARD', name) - live + count_plain(name), expires)
        end
    end
end
return reply
