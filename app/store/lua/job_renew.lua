-- Renews a lease and leaves the progress; says what the worker should know. A job that nobody has claimed since is
-- taken again: its lease ran out while the server was away, or the server lost the claim with its tail.
-- KEYS: record, leases, draining, queue, busy, token.
-- ARGV: id, token, lease ms, progress ('' = leave it), worker, record prefix, how many ms the job has run, in all.
local held = redis.call('HMGET', KEYS[1], 'state', 'token', 'cancel', 'uid')
local mine, last = tonumber(ARGV[2]), tonumber(held[2] or '0')
if held[1] ~= 'running' and held[1] ~= 'queued' then return 'lost' end
if last > mine then return 'lost' end
if held[1] == 'queued' or last < mine then
  local holder = redis.call('HGET', KEYS[5], held[4])
  if holder and holder ~= ARGV[1] and redis.call('HGET', ARGV[6] .. holder, 'state') == 'running' then
    return 'lost'
  end
  if last < mine then
    redis.call('HINCRBY', KEYS[1], 'attempt', 1)
  elseif tonumber(redis.call('HGET', KEYS[1], 'crashes') or '0') > 0 then
    redis.call('HINCRBY', KEYS[1], 'crashes', -1)
  end
  if tonumber(redis.call('GET', KEYS[6]) or '0') < mine then redis.call('SET', KEYS[6], ARGV[2]) end
  redis.call('HSET', KEYS[5], held[4], ARGV[1])
  redis.call('ZREM', KEYS[4], ARGV[1])
  redis.call('HSET', KEYS[1], 'state', 'running', 'token', ARGV[2], 'worker', ARGV[5])
end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[3]), ARGV[1])
if tonumber(ARGV[7]) > tonumber(redis.call('HGET', KEYS[1], 'ran_ms') or '0') then
  redis.call('HSET', KEYS[1], 'ran_ms', ARGV[7])
end
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'progress', ARGV[4]) end
if held[3] == '1' then return 'cancel' end
if redis.call('SISMEMBER', KEYS[3], ARGV[5]) == 1 then return 'drain' end
return 'ok'
