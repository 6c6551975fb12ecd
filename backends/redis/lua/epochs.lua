-- When tags were invalidated. ARGV: name of the set, tags. Gives the epoch of everything, then that
-- of each tag; 0: never. A tag that is not there may have been forgotten: the horizon.
local function score_of(member)
    return tonumber(call('ZSCORE', ARGV[1], member) or 0)
end

local horizon = score_of('h')
local reply = {score_of('a')}
for i = 2, #ARGV do
    local score = call('ZSCORE', ARGV[1], 't' .. ARGV[i])
    reply[i] = score and tonumber(score) or horizon
end
return reply
