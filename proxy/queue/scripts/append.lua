-- ARGV: max_bytes, the courier that takes it or '', the version, the name of what is held for it or '', then of each parcel: id, lane, accepted, attempts,
-- order, same, cost, size, facts, keys, head, body, and where its large body was put, or ''. Gives the numbers, and
-- whether the courier has taken it.
local max_bytes, me = tonumber(ARGV[1]), ARGV[2]
local FIRST, FIELDS = 5, 13
local version = redis.call('GET', P .. 'version')
if version and tonumber(version) > tonumber(ARGV[3]) then return 'newer' end
local cost, ids = 0, {}
for at = FIRST, #ARGV, FIELDS do
  local id, upload = ARGV[at], ARGV[at + 12]
  cost = cost + tonumber(ARGV[at + 6])
  if ids[id] or redis.call('HEXISTS', P .. 'ids', id) == 1 then return 'twice' end
  ids[id] = true
  if upload ~= '' and redis.call('STRLEN', upload) ~= tonumber(ARGV[at + 7]) then return 'body' end
end
if used() + held(ARGV[4]) + cost > max_bytes then return 'full' end
if not version then redis.call('SET', P .. 'version', ARGV[3]) end
if redis.call('EXISTS', LOG) == 0 then redis.call('XGROUP', 'CREATE', LOG, GROUP, '0', 'MKSTREAM') end
local numbers, has_taken = {}, 0
for at = FIRST, #ARGV, FIELDS do
  local r = {
    id = ARGV[at], lane = ARGV[at + 1], accepted = ARGV[at + 2], order = ARGV[at + 4], same = ARGV[at + 5],
    cost = ARGV[at + 6],
  }
  if r.same ~= '' then
    for _, n in ipairs(redis.call('SMEMBERS', of_same(r))) do
      local earlier = record(n)
      if earlier and (earlier.condition == WAITING or earlier.condition == BEHIND) then
        remove(n, earlier, 'dropped')
      end
    end
  end
  local n = tostring(redis.call('INCR', P .. 'number'))
  redis.call('XADD', LOG, entry(n), 'facts', ARGV[at + 8], 'keys', ARGV[at + 9], 'head', ARGV[at + 10],
    'body', ARGV[at + 11])
  redis.call('HSET', P .. 'd:' .. n, 'id', r.id, 'lane', r.lane, 'accepted', r.accepted, 'begun', r.accepted,
    'attempts', ARGV[at + 3], 'order', r.order, 'same', r.same, 'cost', r.cost, 'size', ARGV[at + 7])
  redis.call('HSET', P .. 'ids', r.id, n)
  redis.call('ZADD', P .. 'all', n, pad(n))
  redis.call('SADD', P .. 'lanes', r.lane)
  redis.call('INCRBY', P .. 'used', r.cost)
  if ARGV[at + 12] ~= '' then
    redis.call('RENAME', ARGV[at + 12], P .. 'body:' .. n)
    redis.call('PERSIST', P .. 'body:' .. n)
  end
  count(r.lane, 'live', 1)
  count(r.lane, 'accepted', 1)
  count(r.lane, 'bytes', r.cost)
  live(n, r, true)
  local condition = WAITING
  if r.order ~= '' and redis.call('EXISTS', of_order('front', r)) == 1 then
    condition = BEHIND
  elseif me ~= '' and lives(me) and mine(r.lane, me) then
    condition, has_taken = TAKEN, 1
  end
  enter(n, r, condition, r.accepted, me)
  numbers[#numbers + 1] = n
  if condition == WAITING then
    local other = redis.call('HGET', P .. 'owners', r.lane)
    if other and other ~= me then redis.call('PUBLISH', P .. 'bell', '') end
  end
end
if ARGV[4] ~= '' then
  redis.call('SREM', P .. 'holds', ARGV[4])
  redis.call('DEL', P .. 'hold:' .. ARGV[4])
end
return {numbers, has_taken}
