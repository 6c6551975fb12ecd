-- Looks at records. ARGV: of each the base, the space and the key, 'r' in front of the base if the
-- value is wanted, too, or 'h'. Gives of each its bytes, the time of its creation (-1: in the bytes;
-- -2: the bytes are the text of an error) and how many seconds it has been idle. No bytes: there is
-- none.
local reply = {}
for i = 1, #ARGV, 3 do
    local base, is_whole = sub(ARGV[i], 2), byte(ARGV[i], 1) == 114
    local went, bytes, created, idle = pcall(read_record, base, ARGV[i + 1], ARGV[i + 2], is_whole)
    local at = #reply
    if went then
        reply[at + 1], reply[at + 2], reply[at + 3] = bytes or '', created or -1, idle or -1
    else
        local text = error_text(type(bytes) == 'table' and bytes or {err = bytes})
        reply[at + 1], reply[at + 2], reply[at + 3] = text, -2, -1
    end
end
return reply
