-- Gives of each lane: name, counts, when the oldest was accepted, what is due next.
local found, lanes = {}, redis.call('SMEMBERS', P .. 'lanes')
table.sort(lanes)
for _, lane in ipairs(lanes) do
  found[#found + 1] = {
    lane, redis.call('HGETALL', P .. 'count:' .. lane),
    redis.call('ZRANGE', P .. 'live:' .. lane, 0, 0, 'WITHSCORES'),
    redis.call('ZRANGE', P .. 'due:' .. lane, 0, 0, 'WITHSCORES'),
  }
end
return found
