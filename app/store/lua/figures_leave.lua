-- Leaves what a process says of itself; forgets what others have said long ago, or in a future that a clock made.
-- KEYS: figures.  ARGV: field, JSON.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HGETALL', KEYS[1])
for at = 1, #held, 2 do
  local said_ms = tonumber(string.match(held[at + 1], '^%d+') or '0')
  if math.abs(now_ms - said_ms) > 60000 then redis.call('HDEL', KEYS[1], held[at]) end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now_ms) .. ' ' .. ARGV[2])
return 'ok'
