-- ARGV: all the names of ours, then numbers.
for at = 2, #ARGV do
  local n = ARGV[at]
  local r = record(n)
  if r and r.condition == TAKEN and is_one_of(ARGV[1], owner(n)) then
    leave(n, r)
    enter(n, r, WAITING, r.due)
  end
end
return 0
