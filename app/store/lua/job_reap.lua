-- Puts jobs whose lease ran out back in the queue; ends those that were to be cancelled or died too often.
-- Nobody can renew a lease while the server is away, refuses writes or is stopped, and a clock that jumps makes every
-- lease too old or far too young. So this script notes when it last ran; after a gap, or when the clock went back,
-- every lease starts anew from now. The note is its first write: a server without room refuses the whole script.
-- A job whose worker died has had its turn, and stands behind those of other datasets for a while, twice as long with
-- each death.
-- KEYS: leases, queue, busy, watched, tally.
-- ARGV: record prefix, most crashes, now (RFC 3339), error of a job that died too often, lease ms, longest gap ms,
-- ms behind others after the first death, and at most.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local watched = tonumber(redis.call('GET', KEYS[4]) or '0')
redis.call('SET', KEYS[4], string.format('%.0f', now_ms))
if now_ms < watched or now_ms - watched > tonumber(ARGV[6]) then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    redis.call('ZADD', KEYS[1], now_ms + tonumber(ARGV[5]), id)
  end
  return {}
end
local reaped = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, 100)) do
  local record = ARGV[1] .. id
  local held = redis.call('HMGET', record, 'state', 'uid', 'created_us', 'cancel', 'kind')
  redis.call('ZREM', KEYS[1], id)
  if held[1] == 'running' then
    if redis.call('HGET', KEYS[3], held[2]) == id then redis.call('HDEL', KEYS[3], held[2]) end
    local crashes = redis.call('HINCRBY', record, 'crashes', 1)
    redis.call('HINCRBY', KEYS[5], 'reaped', 1)
    if held[4] == '1' then
      redis.call('HSET', record, 'state', 'cancelled', 'finished_at', ARGV[3])
      redis.call('HINCRBY', KEYS[5], 'ended ' .. held[5] .. ' cancelled', 1)
    elseif crashes >= tonumber(ARGV[2]) then
      local shown = cjson.decode(ARGV[4])
      local phase = cjson.decode(redis.call('HGET', record, 'progress')).phase
      shown.detail = shown.detail .. ', the last time in phase "' .. phase .. '"'
      local death = redis.call('HGET', record, 'death')
      if death then shown.detail = shown.detail .. ': ' .. death end
      redis.call('HSET', record, 'state', 'failed', 'finished_at', ARGV[3], 'error', cjson.encode(shown))
      redis.call('HINCRBY', KEYS[5], 'ended ' .. held[5] .. ' failed', 1)
    else
      local behind = math.min(tonumber(ARGV[7]) * 2 ^ (crashes - 1), tonumber(ARGV[8]))
      redis.call('HSET', record, 'state', 'queued', 'behind_ms', string.format('%.0f', now_ms + behind))
      redis.call('HDEL', record, 'turn')
      redis.call('ZADD', KEYS[2], held[3], id)
    end
    reaped[#reaped + 1] = id
  end
end
return reaped
