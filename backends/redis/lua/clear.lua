-- Removes everything of a keyspace in a partition but its epochs. ARGV: base, space, epoch.
-- Gives how many keys there were.
local base, space, epoch = ARGV[1], ARGV[2], ARGV[3]
local keys, tags = base .. 'k:' .. space, base .. 'T:' .. space

call('UNLINK', KEYS[1]) -- an idle write: behind it none is refused for want of memory
local count = count_live(keys)
while true do
    local list, names = call('ZRANGE', keys, 0, CHUNK - 1, 'WITHSCORES'), {}
    if #list == 0 then
        break
    end
    for i = 1, #list, 2 do
        local kind = byte(list[i + 1], 1) == 45 and 'p:' or 'r:' -- below 0: plain
        names[#names + 1] = base .. kind .. space .. list[i]
    end
    call('UNLINK', unpack(names))
    call('ZREMRANGEBYRANK', keys, 0, CHUNK - 1)
end
local named = call('SMEMBERS', tags)
for i = 1, #named do
    call('UNLINK', base .. 't:' .. space .. named[i])
end
call('UNLINK', tags)
call('SREM', base .. 'n', space)
call('ZADD', base .. 'e:' .. space, 'GT', epoch, 'a')
return count
