-- ARGV: max_bytes, a name, bytes, milliseconds. Holds so many bytes free under that name, for so long at most; 'full' where
-- they are not free.
local size = tonumber(ARGV[3])
if used() + held('') + size > tonumber(ARGV[1]) then return 'full' end
redis.call('SET', P .. 'hold:' .. ARGV[2], size, 'PX', ARGV[4])
redis.call('SADD', P .. 'holds', ARGV[2])
return 1
