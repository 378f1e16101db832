-- Gives a queued job whose dataset is free to a worker: a lease, and a token higher than any before, because it is
-- above the last one given out and never below the clock. A call that is sent again, because its answer was lost with
-- the connection, gets the job that it was given before.
-- Fair between datasets: of each the oldest job; of these the one whose dataset was given a worker the longest ago, or
-- never, as far as is known. A job that went back to the queue keeps the turn that it had. Jobs whose worker has just
-- died come only where there is no other.
-- KEYS: queue, leases, busy, token, served, tally.
-- ARGV: record prefix, lease ms, worker, now (RFC 3339), name of this call, the progress of a job that begins, then
-- the kinds of job that the worker takes (none: all).
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local held = redis.call('HMGET', ARGV[1] .. id, 'state', 'call', 'token')
  if held[1] == 'running' and held[2] == ARGV[5] then return {id, held[3]} end
end

local function is_free(uid)
  local holder = redis.call('HGET', KEYS[3], uid)
  return not holder or redis.call('HGET', ARGV[1] .. holder, 'state') ~= 'running'
end

local kinds = {}
for place = 7, #ARGV do kinds[ARGV[place]] = true end
local function is_taken(kind)
  return #ARGV < 7 or kinds[kind]
end

local seen, best = {}, nil
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local held = redis.call('HMGET', ARGV[1] .. id, 'uid', 'turn', 'behind_ms', 'kind')
  local uid = held[1]
  if not uid then
    redis.call('ZREM', KEYS[1], id)
  elseif not seen[uid] then
    seen[uid] = true
    if is_taken(held[4]) and is_free(uid) then
      local turn = tonumber(held[2] or redis.call('ZSCORE', KEYS[5], uid) or '0')
      local behind = tonumber(held[3] or '0') * 1000 > now_us
      if not best or (best.behind and not behind) or (best.behind == behind and turn < best.turn) then
        best = {id = id, uid = uid, turn = turn, behind = behind}
      end
    end
  end
end
if not best then return false end

local record = ARGV[1] .. best.id
local token = math.max(now_us, tonumber(redis.call('GET', KEYS[4]) or '0') + 1)
local text = string.format('%.0f', token)
redis.call('SET', KEYS[4], text)
redis.call('HSET', KEYS[3], best.uid, best.id)
redis.call('ZADD', KEYS[5], text, best.uid)
redis.call('ZREMRANGEBYRANK', KEYS[5], 0, -10001)
redis.call('ZREM', KEYS[1], best.id)
redis.call('ZADD', KEYS[2], math.floor(now_us / 1000) + tonumber(ARGV[2]), best.id)
local kind = redis.call('HGET', record, 'kind')
if redis.call('HINCRBY', record, 'attempt', 1) > 1 then redis.call('HINCRBY', KEYS[6], 'resumed ' .. kind, 1) end
redis.call('HINCRBY', KEYS[6], 'claimed ' .. kind, 1)
redis.call('HSET', record, 'state', 'running', 'token', text, 'worker', ARGV[3], 'call', ARGV[5], 'progress', ARGV[6])
redis.call('HSETNX', record, 'started_at', ARGV[4])
redis.call('HSETNX', record, 'turn', string.format('%.0f', best.turn))
return {best.id, text}
