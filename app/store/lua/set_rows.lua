-- A stretch of a set's members. A page may lie over the end of a chunk.
-- ARGV: members prefix, version's column prefix, entries prefix, first row, last row.
-- Answers: the rows' ordinals as bytes, then for each row its cell and its id in one string; '' where the sample is
-- deleted or has other content by now.
--#include layout
local first, last = tonumber(ARGV[4]), tonumber(ARGV[5])
local parts = {}
for chunk = floor(first / MEMBERS_A_CHUNK), floor(last / MEMBERS_A_CHUNK) do
  local start = chunk * MEMBERS_A_CHUNK
  local from, to = math.max(first - start, 0), math.min(last - start, MEMBERS_A_CHUNK - 1)
  parts[#parts + 1] = call('GETRANGE', ARGV[1] .. chunk, from * MEMBER_BYTES, (to + 1) * MEMBER_BYTES - 1)
end
local ordinals, read_cell = table.concat(parts), item_reader(ARGV[2], CELLS_A_CHUNK, 0, CELL_BYTES)
local out = {ordinals}
for position = 1, #ordinals, MEMBER_BYTES do
  local ordinal = unpack_bytes('<I4', ordinals, position)
  local entry, row = call('HGET', entry_place(ARGV[3], ordinal)), ''
  if entry then
    local cell = read_cell(ordinal)
    if sub(cell, 1, 2) == sub(entry, 1, 2) then row = cell .. sub(entry, ENTRY_BYTES + 1) end
  end
  out[#out + 1] = row
end
return out
