-- ARGV: before, how many to look at. Gives how many were removed. They are numbered nearly in the order of their age.
local found = 0
for _, name in ipairs(redis.call('ZRANGE', P .. 'all', 0, tonumber(ARGV[2]) - 1)) do
  local n = tostring(tonumber(name))
  local r = record(n)
  if r and r.condition ~= TAKEN and tonumber(r.accepted) < tonumber(ARGV[1]) then
    remove(n, r, 'dropped')
    found = found + 1
  end
end
return found
