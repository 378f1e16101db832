-- From a sample's id to its ordinal. The index does not repeat the ids: a bucket maps 12 bits of an id's CRC-32 to
-- the ordinals of the ids that have them, and the entries say which of them is meant.
local function segment_of(ordinal)
  local segment, limit = 0, FIRST_SEGMENT
  while ordinal >= limit do segment, limit = segment + 1, limit * SEGMENT_GROWTH end
  return segment
end

local bucket_counts = {}
local function index_key(prefix, segment, crc)
  local buckets = bucket_counts[segment]
  if not buckets then
    local limit = FIRST_SEGMENT * SEGMENT_GROWTH ^ segment
    buckets = (segment == 0 and limit or limit - limit / SEGMENT_GROWTH) / IDS_A_BUCKET
    bucket_counts[segment] = buckets
  end
  return prefix .. segment .. ':' .. crc % buckets
end

local function fingerprint(crc) return math.floor(crc / 1048576) end

local function read_crc(crcs, n) return (struct.unpack('<I4', crcs, n * 4 - 3)) end

local function read_entry(prefix, ordinal)
  return redis.call('HGET', prefix .. math.floor(ordinal / ENTRIES_A_BUCKET), ordinal % ENTRIES_A_BUCKET)
end

-- The ordinal and the entry of an id, or nothing; the newest segment first, which is the largest.
local function find_id(index, entries, ordinals, id, crc)
  if ordinals == 0 then return end
  local mark = fingerprint(crc)
  for segment = segment_of(ordinals - 1), 0, -1 do
    local held = redis.call('HGET', index_key(index, segment, crc), mark)
    if held then
      for digits in string.gmatch(held, '%d+') do
        local ordinal = tonumber(digits)
        local entry = read_entry(entries, ordinal)
        if entry and string.sub(entry, ENTRY_BYTES + 1) == id then return ordinal, entry end
      end
    end
  end
end
