-- Looks over the queue and at what runs: of each kind that waits how many and since when; of each job that runs its
-- kind, worker and progress. Of a queue that is very long, those beyond the bound are counted under no kind.
-- KEYS: queue, leases.  ARGV: record prefix, how many are looked at.
local kinds, order = {}, {}
local bound = tonumber(ARGV[2])
local waiting = redis.call('ZRANGE', KEYS[1], 0, bound - 1, 'WITHSCORES')
local function count(kind, number, since)
  if not kinds[kind] then
    kinds[kind] = {number, since}
    order[#order + 1] = kind
  else
    kinds[kind][1] = kinds[kind][1] + number
  end
end
for at = 1, #waiting, 2 do
  count(redis.call('HGET', ARGV[1] .. waiting[at], 'kind') or '', 1, waiting[at + 1])
end
local more = redis.call('ZCARD', KEYS[1]) - #waiting / 2
if more > 0 then count('', more, redis.call('ZRANGE', KEYS[1], bound, bound, 'WITHSCORES')[2]) end
local told = {}
for _, kind in ipairs(order) do told[#told + 1] = {kind, kinds[kind][1], kinds[kind][2]} end
local running = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, bound - 1)) do
  running[#running + 1] = redis.call('HMGET', ARGV[1] .. id, 'kind', 'worker', 'progress')
end
return {told, running}
