-- Records a job and queues it, unless too many wait already (answers 'full'); the same Idempotency-Key gives the job
-- that it gave before, however many wait. A call that is sent again leaves the job as it is by now.
-- KEYS: record, index, queue, idempotency (or '').
-- ARGV: id, created µs, request digest, expiry s, most that may wait (0: any number), then fields.
if redis.call('EXISTS', KEYS[1]) == 1 then return '' end
local known = KEYS[4] ~= '' and redis.call('GET', KEYS[4])
if known then return known end
local most = tonumber(ARGV[5])
if most > 0 and redis.call('ZCARD', KEYS[3]) >= most then return 'full' end
if KEYS[4] ~= '' then redis.call('SET', KEYS[4], ARGV[3] .. ' ' .. ARGV[1], 'EX', ARGV[4]) end
redis.call('HSET', KEYS[1], unpack(ARGV, 6))
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
return ''
