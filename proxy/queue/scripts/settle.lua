-- ARGV: all the names of ours, then of each: number, condition ('' delivered), due, the try. What was delivered is gone,
-- whichever has it now; of the rest only what we still have is settled.
for at = 2, #ARGV, 4 do
  local n, condition = ARGV[at], ARGV[at + 1]
  local r = record(n)
  if r and condition == '' then
    remove(n, r, 'delivered')
  elseif r and r.condition == TAKEN and is_one_of(ARGV[1], owner(n)) then
    redis.call('HINCRBY', P .. 'd:' .. n, 'attempts', 1)
    redis.call('RPUSH', P .. 't:' .. n, ARGV[at + 3])
    leave(n, r)
    enter(n, r, condition, ARGV[at + 2])
    if condition == DEAD then
      count(r.lane, 'live', -1)
      count(r.lane, 'dead', 1)
      count(r.lane, 'died', 1)
      live(n, r, false)
      let_next(r)
    end
  end
end
return 0
