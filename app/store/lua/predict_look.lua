-- How a request stands that has no answer yet: 'ok' while one may come; 'nobody' there to take it; 'lost', with the
-- predictor that took it or with the server's tail.
-- KEYS: asked, answer, predictors.
if redis.call('EXISTS', KEYS[2]) == 1 then return 'ok' end
if redis.call('EXISTS', KEYS[1]) == 0 then return 'lost' end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local taken = redis.call('HGET', KEYS[1], 'taken')
if taken then
  return tonumber(redis.call('ZSCORE', KEYS[3], taken) or '0') < now_ms and 'lost' or 'ok'
end
return redis.call('ZCOUNT', KEYS[3], now_ms, '+inf') == 0 and 'nobody' or 'ok'
