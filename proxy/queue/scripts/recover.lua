-- ARGV: names that count as dead, now, the try. Gives how many were put back.
local found = 0
if redis.call('EXISTS', LOG) == 0 then return 0 end
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', LOG, GROUP)) do
  local name, pending = consumer[2], consumer[4]
  if is_one_of(ARGV[1], name) or not lives(name) then
    if pending > 0 then
      for _, each in ipairs(redis.call('XPENDING', LOG, GROUP, '-', '+', pending, name)) do
        local n = string.match(each[1], '^%d+')
        local r = record(n)
        if r and r.condition == TAKEN then
          redis.call('HINCRBY', P .. 'd:' .. n, 'attempts', 1)
          redis.call('RPUSH', P .. 't:' .. n, ARGV[3])
          leave(n, r)
          enter(n, r, WAITING, ARGV[2])
          found = found + 1
        else
          redis.call('XACK', LOG, GROUP, each[1])
        end
      end
    end
    redis.call('XGROUP', 'DELCONSUMER', LOG, GROUP, name)
  end
end
if found > 0 then redis.call('PUBLISH', P .. 'bell', '') end
return found
