-- What all scripts of this folder begin with.
local P = KEYS[1]
local LOG, GROUP = P .. 'log', 'couriers'
local WAITING, TAKEN, BEHIND, DEAD = '0', '1', '2', '3'
local function pad(n) return string.format('%016d', n) end
local function entry(n) return n .. '-0' end
local function record(n)
  local flat = redis.call('HGETALL', P .. 'd:' .. n)
  if #flat == 0 then return nil end
  local r = {}
  for i = 1, #flat, 2 do r[flat[i]] = flat[i + 1] end
  return r
end
local function of_order(word, r) return P .. word .. ':' .. r.lane .. '\0' .. r.order end
local function of_same(r) return P .. 'same:' .. r.lane .. '\0' .. r.same end
local function count(lane, name, by) redis.call('HINCRBY', P .. 'count:' .. lane, name, by) end
local function owner(n)
  local found = redis.pcall('XPENDING', LOG, GROUP, entry(n), entry(n), 1)
  return found[1] and found[1][2]
end
local function is_one_of(names, name) return name and string.find(names, ' ' .. name .. ' ', 1, true) end
local function lives(name) return redis.call('EXISTS', P .. 'alive:' .. name) == 1 end
local function mine(lane, me)
  local other = redis.call('HGET', P .. 'owners', lane)
  if other == me then return true end
  if other and lives(other) then return false end
  redis.call('HSET', P .. 'owners', lane, me)
  return true
end
-- What is held free for bodies that are on their way, but for what `mine` holds.
local function held(mine)
  local sum = 0
  for _, hold in ipairs(redis.call('SMEMBERS', P .. 'holds')) do
    local size = redis.call('GET', P .. 'hold:' .. hold)
    if not size then redis.call('SREM', P .. 'holds', hold)
    elseif hold ~= mine then sum = sum + tonumber(size) end
  end
  return sum
end
local function used() return tonumber(redis.call('GET', P .. 'used') or '0') end
local function leave(n, r)
  if r.condition == WAITING then redis.call('ZREM', P .. 'due:' .. r.lane, pad(n)) end
  if r.condition == TAKEN then redis.call('XACK', LOG, GROUP, entry(n)) end
  if r.condition == BEHIND then redis.call('ZREM', of_order('behind', r), pad(n)) end
  if r.order ~= '' and (r.condition == WAITING or r.condition == TAKEN) then
    if redis.call('DECR', of_order('front', r)) <= 0 then redis.call('DEL', of_order('front', r)) end
  end
end
local function enter(n, r, condition, due, me)
  r.condition, r.due = condition, due
  redis.call('HSET', P .. 'd:' .. n, 'condition', condition, 'due', due)
  if condition == WAITING then redis.call('ZADD', P .. 'due:' .. r.lane, due, pad(n)) end
  if condition == TAKEN then redis.call('XCLAIM', LOG, GROUP, me, 0, entry(n), 'FORCE', 'JUSTID') end
  if condition == BEHIND then redis.call('ZADD', of_order('behind', r), n, pad(n)) end
  if r.order ~= '' and (condition == WAITING or condition == TAKEN) then redis.call('INCR', of_order('front', r)) end
end
local function let_next(r)
  if r.order == '' or redis.call('EXISTS', of_order('front', r)) == 1 then return end
  local first = redis.call('ZPOPMIN', of_order('behind', r))
  if first[1] then
    local n = tostring(tonumber(first[1]))
    local next = record(n)
    if next then enter(n, next, WAITING, next.due) end
  end
end
local function live(n, r, is_live)
  if is_live then
    redis.call('ZADD', P .. 'live:' .. r.lane, r.accepted, pad(n))
    if r.same ~= '' then redis.call('SADD', of_same(r), n) end
  else
    redis.call('ZREM', P .. 'live:' .. r.lane, pad(n))
    if r.same ~= '' then redis.call('SREM', of_same(r), n) end
  end
end
local function remove(n, r, counted)
  leave(n, r)
  live(n, r, false)
  count(r.lane, r.condition == DEAD and 'dead' or 'live', -1)
  count(r.lane, 'bytes', -tonumber(r.cost))
  count(r.lane, counted, 1)
  redis.call('DECRBY', P .. 'used', r.cost)
  redis.call('HDEL', P .. 'ids', r.id)
  redis.call('ZREM', P .. 'all', pad(n))
  redis.call('XDEL', LOG, entry(n))
  redis.call('UNLINK', P .. 'd:' .. n, P .. 't:' .. n, P .. 'body:' .. n)
  let_next(r)
end
local function row(n, r, with_body)
  local found = redis.call('XRANGE', LOG, entry(n), entry(n))[1]
  if not found then return nil end
  local content = found[2]
  return {
    n, r.id, r.lane, r.accepted, r.begun, r.attempts, r.order, r.same, r.size, r.condition, r.due,
    content[2], content[4], content[6], with_body and content[8] or '',
  }
end
