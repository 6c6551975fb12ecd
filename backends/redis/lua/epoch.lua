-- The newest epoch that was given out, and the first. ARGV: the name of the newest, that of the
-- first, 'get' or 'next'. Epochs are the engine's time in microseconds, and each is above all before
-- it whatever its clock does.
local last = tonumber(call('GET', ARGV[1]) or nil)
local first = tonumber(call('GET', ARGV[2]) or nil)
if last and first and ARGV[3] == 'get' then
    return {last, first}
end
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local epoch = math.max(last and last + 1 or 0, now)
call('UNLINK', KEYS[1]) -- an idle write: behind it none is refused for want of memory
call('SET', ARGV[1], string.format('%.0f', epoch))
if not first then
    first = epoch
    call('SET', ARGV[2], string.format('%.0f', first))
end
return {epoch, first}
