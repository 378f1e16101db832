-- Hands a request to the predictors, or says why not; takes out of the queue what nobody waits for any more.
-- KEYS: queue, predictors, asked.  ARGV: prefix of asked, id, job, texts, body, ms to the deadline, longest queue,
-- most bytes of all that waits.
if redis.call('EXISTS', KEYS[3]) == 1 then return 'ok' end -- sent again after a broken connection
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('ZCOUNT', KEYS[2], now_ms, '+inf') == 0 then return 'nobody' end
local waiting, bytes = 0, #ARGV[5]
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local length = redis.call('HSTRLEN', ARGV[1] .. id, 'body')
  if length == 0 then
    redis.call('LREM', KEYS[1], 1, id)
  else
    waiting, bytes = waiting + 1, bytes + length
  end
end
if waiting >= tonumber(ARGV[7]) or (waiting > 0 and bytes > tonumber(ARGV[8])) then return 'full' end
redis.call('HSET', KEYS[3], 'job', ARGV[3], 'texts', ARGV[4], 'body', ARGV[5])
redis.call('PEXPIRE', KEYS[3], ARGV[6])
redis.call('RPUSH', KEYS[1], ARGV[2])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[6]) then redis.call('PEXPIRE', KEYS[1], ARGV[6]) end
return 'ok'
