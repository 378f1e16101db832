"""What the score store is measured against: a hash per sample and a sorted set, as one would write it first.

The hash holds the same fields as entry, record and cell, under short names; the sorted set gives rank and
pages.
No ledger and no fence: a visit that is sent again counts twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import redis

from app.store.records import Visits

RANKING = "peer:ranking"
_MERGE = """
-- One visit of each sample. KEYS: hashes. ARGV: time, then eight values a sample.
for i = 1, #KEYS do
  local at = 2 + (i - 1) * 8
  local held = redis.call(
    'HMGET', KEYS[i], 't', 's', 'sd', 'lo', 'el', 'ma', 'co', 'va', 'al', 'na', 'fo', 'lc')
  local n = (tonumber(held[1]) or 0) + 1
  local norm, correct = tonumber(ARGV[at + 1]), ARGV[at + 6]
  local sum = tonumber(held[2]) or 0
  local mean = n > 1 and sum / (n - 1) or 0
  sum = sum + norm
  local sd = tonumber(held[3]) or 0
  sd = math.sqrt(math.max(sd * sd * (n - 1) + (norm - mean) * (norm - sum / n), 0) / n)
  local means = {}
  for k = 1, 4 do
    local old = tonumber(held[k + 3]) or 0
    means[k] = old + (tonumber(ARGV[at + k + 1]) - old) / n
  end
  local confidence, old = tonumber(ARGV[at + 5]), tonumber(held[7]) or 0
  local va = tonumber(held[8]) or 0
  va = math.sqrt(math.max(va * va * (n - 1) + (confidence - old) * (confidence - means[4]), 0) / n)
  local aligned = (tonumber(held[10]) or 0) + 1
  local al = tonumber(held[9]) or 0
  al = al + (tonumber(ARGV[at + 7]) - al) / aligned
  local forgotten = (tonumber(held[11]) or 0) + (held[12] == '1' and correct == '0' and 1 or 0)
  redis.call('HSET', KEYS[i], 'g', ARGV[at], 't', n, 'u', ARGV[1], 's', string.format('%.17g', sum),
    'sd', string.format('%.9g', sd), 'la', string.format('%.9g', norm), 'lo', string.format('%.9g', means[1]),
    'el', string.format('%.9g', means[2]), 'ma', string.format('%.9g', means[3]),
    'co', string.format('%.9g', means[4]), 'va', string.format('%.9g', va), 'al', string.format('%.9g', al),
    'na', aligned, 'fo', forgotten, 'lc', correct)
end
"""


class HashPerSample:
    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._merge = client.register_script(_MERGE)

    def store_ids(self, ids: Sequence[str]) -> None:
        """What an entry knows: two digests. The id is the key; the generation comes with the visits."""
        pipe = self._client.pipeline(transaction=False)
        for sample_id in ids:
            pipe.hset(f"peer:{sample_id}", mapping={"cd": "81985529216486895", "ad": "1985229328"})
        pipe.execute()

    def merge_by_script(self, ids: Sequence[str], visits: Visits, at: int) -> None:
        """One call merges one visit of each sample."""
        columns = [visits.generations, visits.grad_norm, visits.loss, visits.el2n, visits.margin]
        columns += [visits.confidence, visits.correct.astype(np.int64), visits.alignment]
        rows = zip(*(column.tolist() for column in columns), strict=True)
        arguments = [value for row in rows for value in row]
        self._merge(keys=[f"peer:{sample_id}" for sample_id in ids], args=[at, *arguments])

    def merge_by_increments(self, ids: Sequence[str], visits: Visits, at: int) -> None:
        """Increments and sums of squares, pipelined: no reading, hence no means and no forgetting."""
        pipe = self._client.pipeline(transaction=False)
        for position, sample_id in enumerate(ids):
            key = f"inc:{sample_id}"
            norm, confidence = float(visits.grad_norm[position]), float(visits.confidence[position])
            pipe.hincrby(key, "t", 1)
            for name, value in (
                ("s", norm),
                ("sq", norm * norm),
                ("lo", float(visits.loss[position])),
                ("el", float(visits.el2n[position])),
                ("ma", float(visits.margin[position])),
                ("co", confidence),
                ("cq", confidence * confidence),
                ("al", float(visits.alignment[position])),
            ):
                pipe.hincrbyfloat(key, name, value)
            pipe.hset(key, mapping={"u": at, "la": norm, "g": int(visits.generations[position])})
        pipe.execute()

    def sort(self, ids: Sequence[str], importance: Sequence[float], sets: Sequence[int]) -> None:
        pipe = self._client.pipeline(transaction=False)
        pipe.zadd(RANKING, dict(zip(ids, importance, strict=True)))
        for sample_id, code in zip(ids, sets, strict=True):
            pipe.hset(f"peer:{sample_id}", mapping={"se": code, "re": 1, "no": "0.25"})
        pipe.execute()

    def lookup(self, ids: Sequence[str]) -> list[object]:
        """Everything about each id, its rank included."""
        pipe = self._client.pipeline(transaction=False)
        for sample_id in ids:
            pipe.hgetall(f"peer:{sample_id}")
            pipe.zrevrank(RANKING, sample_id)
        return pipe.execute()

    def page(self, first: int, last: int) -> list[object]:
        members = self._client.zrevrange(RANKING, first, last, withscores=True)
        pipe = self._client.pipeline(transaction=False)
        for sample_id, _ in members:
            pipe.hmget(f"peer:{sample_id.decode()}", "re", "no")
        return pipe.execute()
