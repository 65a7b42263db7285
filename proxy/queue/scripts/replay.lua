-- ARGV: now, then numbers. Gives how many there are still.
local found = 0
for at = 2, #ARGV do
  local n = ARGV[at]
  local r = record(n)
  if r and r.condition ~= TAKEN then
    if r.condition == DEAD then
      count(r.lane, 'live', 1)
      count(r.lane, 'dead', -1)
      live(n, r, true)
    end
    leave(n, r)
    local held = r.order ~= '' and redis.call('EXISTS', of_order('front', r)) == 1
    redis.call('HSET', P .. 'd:' .. n, 'begun', ARGV[1])
    enter(n, r, held and BEHIND or WAITING, ARGV[1])
    found = found + 1
  end
end
return found
