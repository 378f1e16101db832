-- Gives the oldest queued job whose dataset is free to a worker: a lease, and a token higher than any before,
-- because it is above the last one given out and never below the clock. A call that is sent again, because its
-- answer was lost with the connection, gets the job that it was given before.
-- KEYS: queue, leases, busy, token, tally.  ARGV: record prefix, lease ms, worker, now (RFC 3339), name of this call,
-- the progress of a job that begins.
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local held = redis.call('HMGET', ARGV[1] .. id, 'state', 'call', 'token')
  if held[1] == 'running' and held[2] == ARGV[5] then return {id, held[3]} end
end
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, 999)) do
  local record = ARGV[1] .. id
  local uid = redis.call('HGET', record, 'uid')
  if not uid then
    redis.call('ZREM', KEYS[1], id)
  else
    local holder = redis.call('HGET', KEYS[3], uid)
    if holder and redis.call('HGET', ARGV[1] .. holder, 'state') ~= 'running' then holder = false end
    if not holder then
      local token = math.max(now_us, tonumber(redis.call('GET', KEYS[4]) or '0') + 1)
      local text = string.format('%.0f', token)
      redis.call('SET', KEYS[4], text)
      redis.call('HSET', KEYS[3], uid, id)
      redis.call('ZREM', KEYS[1], id)
      redis.call('ZADD', KEYS[2], math.floor(now_us / 1000) + tonumber(ARGV[2]), id)
      local kind = redis.call('HGET', record, 'kind')
      if redis.call('HINCRBY', record, 'attempt', 1) > 1 then
        redis.call('HINCRBY', KEYS[5], 'resumed ' .. kind, 1)
      end
      redis.call('HINCRBY', KEYS[5], 'claimed ' .. kind, 1)
      redis.call('HSET', record, 'state', 'running', 'token', text, 'worker', ARGV[3], 'call', ARGV[5],
        'progress', ARGV[6])
      redis.call('HSETNX', record, 'started_at', ARGV[4])
      return {id, text}
    end
  end
end
return false
