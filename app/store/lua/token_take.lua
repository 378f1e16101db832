-- Gives out a fencing token higher than any before, as a claim does.
-- KEYS: token.
local time = redis.call('TIME')
local token = math.max(time[1] * 1000000 + time[2], tonumber(redis.call('GET', KEYS[1]) or '0') + 1)
local text = string.format('%.0f', token)
redis.call('SET', KEYS[1], text)
return text
