-- Gives a predictor the oldest request that somebody still waits for, and with it others that ask the same model, as
-- long as they are few texts together. Answers the job, then id and body of each.
-- KEYS: queue.  ARGV: prefix of asked, predictor, most texts.
local taken, texts = {}, 0
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local held = redis.call('HMGET', ARGV[1] .. id, 'job', 'texts')
  if not held[1] then
    redis.call('LREM', KEYS[1], 1, id)
  elseif not taken[1] or (held[1] == taken[1] and texts + tonumber(held[2]) <= tonumber(ARGV[3])) then
    redis.call('LREM', KEYS[1], 1, id)
    redis.call('HSET', ARGV[1] .. id, 'taken', ARGV[2])
    texts = texts + tonumber(held[2])
    taken[1] = held[1]
    table.insert(taken, id)
    table.insert(taken, redis.call('HGET', ARGV[1] .. id, 'body'))
  end
end
return taken
