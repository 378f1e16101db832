-- Leaves an answer where somebody still waits for it, once.
-- KEYS: asked, answer.  ARGV: answer, for how many ms.
if redis.call('DEL', KEYS[1]) == 0 then return 0 end
redis.call('RPUSH', KEYS[2], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
