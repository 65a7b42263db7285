-- ARGV: the courier, now, then lanes, each with how many. Gives rows; 'lost' where the courier counts as dead.
local me, taken = ARGV[1], {}
if not lives(me) then return 'lost' end
for at = 3, #ARGV, 2 do
  local lane = ARGV[at]
  local due = redis.call('ZRANGEBYSCORE', P .. 'due:' .. lane, '-inf', ARGV[2], 'LIMIT', 0, ARGV[at + 1])
  if due[1] and mine(lane, me) then
    for _, name in ipairs(due) do
      local n = tostring(tonumber(name))
      local r = record(n)
      local found = r and row(n, r, true)
      if found then
        leave(n, r)
        enter(n, r, TAKEN, r.due, me)
        taken[#taken + 1] = found
      end
    end
  end
end
return taken
