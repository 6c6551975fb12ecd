-- Some live key of the first base that has one. ARGV: space, a random number, bases.
for i = 3, #ARGV do
    local name = ARGV[i] .. 'k:' .. ARGV[1]
    local live = call('ZCOUNT', name, after_now(), '+inf')
    if live > 0 then
        local rank = call('ZCARD', name) - live + tonumber(ARGV[2]) % live
        return call('ZRANGE', name, rank, rank)
    end
end
return {}
