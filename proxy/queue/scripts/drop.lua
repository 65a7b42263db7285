-- ARGV: numbers. Gives how many were removed.
local found = 0
for _, n in ipairs(ARGV) do
  local r = record(n)
  if r and r.condition ~= TAKEN then
    remove(n, r, 'dropped')
    found = found + 1
  end
end
return found
