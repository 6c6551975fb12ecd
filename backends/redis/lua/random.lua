-- Some live key of the first base that has one. ARGV: space, a random number, bases.
for i = 3, #ARGV do
    local name = ARGV[i] .. 'k:' .. ARGV[1]
    local live = count_live(name)
    if live > 0 then
        local rank = tonumber(ARGV[2]) % live
        if rank >= count_plain(name) then -- behind those whose time is over
            rank = rank + call('ZCARD', name) - live
        end
        return call('ZRANGE', name, rank, rank)
    end
end
return {}
