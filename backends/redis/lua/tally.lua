-- How many keys carry tags. ARGV: space, how many bases, bases, tags; without tags: all there are,
-- as tag and count in turn, those without keys left out. Else the counts.
local space, bases = ARGV[1], tonumber(ARGV[2])
local reply = {}

local function count_of(base, tag)
    return call('ZCOUNT', base .. 't:' .. space .. tag, after_now(), '+inf')
end

for i = 3 + bases, #ARGV do
    local sum = 0
    for j = 3, 2 + bases do
        sum = sum + count_of(ARGV[j], ARGV[i])
    end
    reply[#reply + 1] = sum
end
if #ARGV > 2 + bases then
    return reply
end
for j = 3, 2 + bases do
    local tags = call('SMEMBERS', ARGV[j] .. 'T:' .. space)
    for i = 1, #tags do
        local count = count_of(ARGV[j], tags[i])
        if count > 0 then
            reply[#reply + 1] = tags[i]
            reply[#reply + 1] = count
        end
    end
end
return reply
