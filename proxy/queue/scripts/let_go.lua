-- ARGV: a name. What was held under it is free.
redis.call('SREM', P .. 'holds', ARGV[1])
return redis.call('DEL', P .. 'hold:' .. ARGV[1])
