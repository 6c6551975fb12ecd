-- The newest epoch that was given out. ARGV: its name, 'get' or 'next'. Epochs are the engine's
-- time in microseconds, and each is above all before it whatever its clock does.
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local last = tonumber(call('GET', ARGV[1]) or nil)
if last and ARGV[2] == 'get' then
    return last
end
call('UNLINK', KEYS[1]) -- an idle write: behind it none is refused for want of memory
local epoch = math.max(last and last + 1 or 0, now)
call('SET', ARGV[1], string.format('%.0f', epoch))
return epoch
