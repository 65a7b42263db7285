-- ARGV: after, how many to look at, whether with bodies, conditions, then ids. Gives the number to go on after (0 at the
-- end), and rows with what was tried.
local after, most, found, last = tonumber(ARGV[1]), tonumber(ARGV[2]), {}, '0'
local numbers = {}
if #ARGV > 4 then
  for at = 5, #ARGV do
    local n = redis.call('HGET', P .. 'ids', ARGV[at])
    if n then numbers[#numbers + 1] = tonumber(n) end
  end
  table.sort(numbers)
else
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', P .. 'all', '(' .. ARGV[1], '+inf', 'LIMIT', 0, most)) do
    numbers[#numbers + 1] = tonumber(name)
  end
  if #numbers == most then last = tostring(numbers[most]) end
end
for _, number in ipairs(numbers) do
  local n = tostring(number)
  local r = record(n)
  if r and (ARGV[4] == '' or string.find(ARGV[4], r.condition, 1, true)) then
    local one = row(n, r, ARGV[3] == '1')
    if one then found[#found + 1] = {one, redis.call('LRANGE', P .. 't:' .. n, 0, -1)} end
  end
end
return {last, found}
