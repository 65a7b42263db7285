-- ARGV: lane, '1' or '0'.
redis.call('SADD', P .. 'lanes', ARGV[1])
redis.call('HSET', P .. 'count:' .. ARGV[1], 'paused', ARGV[2])
return 0
