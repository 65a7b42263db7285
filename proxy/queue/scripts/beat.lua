-- ARGV: the courier, for how many ms, whether it is new. Gives whether it lives.
if ARGV[3] == '1' or redis.call('EXISTS', P .. 'alive:' .. ARGV[1]) == 1 then
  redis.call('SET', P .. 'alive:' .. ARGV[1], '', 'PX', ARGV[2])
  return 1
end
return 0
