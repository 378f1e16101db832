-- A worker's child process is dead: says why on the job that it ran, and lets its lease run out at once.
-- KEYS: leases.  ARGV: record prefix, worker, what is known of the death.  Answers the job's id, or nothing.
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local held = redis.call('HMGET', ARGV[1] .. id, 'state', 'worker')
  if held[1] == 'running' and held[2] == ARGV[2] then
    redis.call('HSET', ARGV[1] .. id, 'death', ARGV[3])
    redis.call('ZADD', KEYS[1], 'XX', 0, id)
    return id
  end
end
return false
