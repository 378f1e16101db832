-- Where things lie (app/store/layout.py), for the scripts that include this file.
-- From a sample's id to its ordinal: the index does not repeat the ids. A bucket maps 12 bits of an id's CRC-32 to the
-- ordinals of the ids that have them, and the entries say which of them is meant.
-- Keys are made by string.format: an integer by %d takes half the time that Lua's own number to string does. As an
-- argument of a call a number costs less still.
local call, floor, format, sub, unpack_bytes = redis.call, math.floor, string.format, string.sub, struct.unpack

local function segment_of(ordinal)
  local segment, limit = 0, FIRST_SEGMENT
  while ordinal >= limit do segment, limit = segment + 1, limit * SEGMENT_GROWTH end
  return segment
end

-- How many ids a segment can hold, and how many came before it.
local function extent(segment)
  local limit = FIRST_SEGMENT * SEGMENT_GROWTH ^ segment
  local before = segment == 0 and 0 or limit / SEGMENT_GROWTH
  return limit - before, before
end

local bucket_counts = {}
local function index_key(prefix, segment, crc)
  local buckets = bucket_counts[segment]
  if not buckets then
    buckets = extent(segment) / IDS_A_BUCKET
    bucket_counts[segment] = buckets
  end
  return format('%s%d:%d', prefix, segment, crc % buckets)
end

local function mark_of(crc) return floor(crc / 1048576) end

local function read_crc(crcs, n) return (unpack_bytes('<I4', crcs, n * 4 - 3)) end

-- Key and field of an ordinal's entry. Ordinals that follow each other share their key.
local last_bucket, last_key
local function entry_place(prefix, ordinal)
  local field = ordinal % ENTRIES_A_BUCKET
  local bucket = (ordinal - field) / ENTRIES_A_BUCKET
  if bucket ~= last_bucket then last_bucket, last_key = bucket, format('%s%d', prefix, bucket) end
  return last_key, field
end

-- Reads single items, by ordinal, of the fixed-width items that lie in chunks under a prefix, `header` bytes into each.
local function item_reader(prefix, chunk_items, header, bytes)
  local keys = {}
  return function(ordinal)
    local chunk, at = floor(ordinal / chunk_items), header + ordinal % chunk_items * bytes
    local key = keys[chunk]
    if not key then
      key = format('%s%d', prefix, chunk)
      keys[chunk] = key
    end
    return call('GETRANGE', key, at, at + bytes - 1)
  end
end

-- The segments in which to look for an id, the one with the most ids first: each is larger than those before it, but
-- the newest is not full.
local function segments_of(ordinals)
  local newest, order = segment_of(ordinals - 1), {}
  for segment = newest - 1, 0, -1 do order[#order + 1] = segment end
  local _, before = extent(newest)
  local place = 1
  while order[place] and extent(order[place]) > ordinals - before do place = place + 1 end
  table.insert(order, place, newest)
  return order
end

-- The ordinal and the entry of an id; or nil, nil and, of the segment looked into last, the bucket and what stands
-- there under the id's mark.
local function find_id(index, entries, segments, id, crc)
  local mark, bucket, held = mark_of(crc), nil, nil
  for _, segment in ipairs(segments) do
    bucket = index_key(index, segment, crc)
    held = call('HGET', bucket, mark)
    if held then
      local ordinal = tonumber(held)
      if ordinal then  -- one alone, nearly always
        local entry = call('HGET', entry_place(entries, ordinal))
        if entry and sub(entry, ENTRY_BYTES + 1) == id then return ordinal, entry end
      else
        for digits in string.gmatch(held, '%d+') do
          ordinal = tonumber(digits)
          local entry = call('HGET', entry_place(entries, ordinal))
          if entry and sub(entry, ENTRY_BYTES + 1) == id then return ordinal, entry end
        end
      end
    end
  end
  return nil, nil, bucket, held
end

-- Hash fields and values to be set together: one call for each key.
local function grouped_fields()
  local groups, order = {}, {}
  local function add(key, field, value)
    local group = groups[key]
    if not group then
      group = {}
      groups[key], order[#order + 1] = group, key
    end
    local at = #group
    group[at + 1], group[at + 2] = field, value
  end
  local function set_all()
    for _, key in ipairs(order) do call('HSET', key, unpack(groups[key])) end
  end
  return add, set_all
end
