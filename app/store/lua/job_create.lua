-- Records a job and queues it; the same Idempotency-Key gives the job that it gave before. A call that is sent again
-- leaves the job as it is by now.
-- KEYS: record, index, queue, idempotency (or ''), tally.
-- ARGV: id, created µs, request digest, expiry s, name in the tally, then fields.
if redis.call('EXISTS', KEYS[1]) == 1 then return '' end
if KEYS[4] ~= '' then
  local known = redis.call('GET', KEYS[4])
  if known then return known end
  redis.call('SET', KEYS[4], ARGV[3] .. ' ' .. ARGV[1], 'EX', ARGV[4])
end
redis.call('HSET', KEYS[1], unpack(ARGV, 6))
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
redis.call('HINCRBY', KEYS[5], ARGV[5], 1)
return ''
