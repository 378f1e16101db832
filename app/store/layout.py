"""How the score state lies in Redis, byte by byte: what Python and the Lua scripts share.

A sample has an *entry* (its id and what is known of its content), a *record* in each lineage (what its visits
came to) and a *cell* in each set version (where it stands). Each of the three begins with the generation of
the content that it belongs to, so that a comparison of two bytes tells whether it is still valid. All are
found by the sample's ordinal; the *index* leads from the id to the ordinal.

The sizes are chosen for the memory allocator: a string or a small hash takes one block, and jemalloc's blocks
come in classes (…, 4 KiB, 5 KiB, …, 64 KiB, 80 KiB); libc's do not mind.
"""

from __future__ import annotations

import struct

import numpy as np

from app.errors import Conflict

STATE_FORMAT = 2
"""Of all that this file describes. It stands in each dataset's meta and in each shard's header."""
GENERATIONS = 2**16
"""A generation never comes again: a change too many is refused, and so is a visit too many."""
VISITS_AT_MOST = 2**16 - 1

# -- entries and their index -------------------------------------------------------------------------------
ENTRY = struct.Struct("<HQI")
"""Generation, content digest, attribute digest; the id follows as UTF-8."""
ENTRIES_A_BUCKET = 80
"""80 entries with ids of 20 characters are a hash of 3,047 bytes: a 3 KiB block. More would save a little of
the key's share, but a small hash is searched from its beginning."""
FIRST_SEGMENT = 2**16
SEGMENT_GROWTH = 4
"""The index has segments: the first one for ordinals below 2¹⁶, each further one up to four times as far. A
segment has a fixed number of buckets, so nothing ever moves when a dataset grows."""
IDS_A_BUCKET = 128
"""Of a full segment, on average. Small hashes stay compact up to 512 fields (hash-max-listpack-entries)."""

# -- records -----------------------------------------------------------------------------------------------
HEADER = struct.Struct("<2sHHHQIIQ")
"""Magic, format, bytes a record, 0, fence, run, step, records."""
MAGIC = b"GS"
RECORD_FIELDS = {
    "generation": "H",  # of the sample's content that the visits saw
    "visits": "H",  # t
    "alignments": "H",  # visits that had an alignment
    "turns": "H",  # changes between wrong and right, from wrong on: odd if right at last, half forgettings
    "updated_at": "I",  # unix seconds
    "grad_norm_sum": "d",  # S_i(t) = grad_norm_sum / visits
    "grad_norm_std": "f",
    "grad_norm_last": "f",
    "loss": "f",  # this and the next three: means over the visits
    "el2n": "f",
    "margin": "f",
    "confidence": "f",
    "variability": "f",  # standard deviation of the confidence
    "alignment": "f",  # mean over `alignments` visits; NaN where there is none
}
SHARD_RECORDS = 1259
"""1,259 records and their header are a string of 65,500 bytes: a 64 KiB block."""

# -- set versions ------------------------------------------------------------------------------------------
CELL_FIELDS = {
    "generation": "H",
    "set": "B",  # code of the set, 0: none
    "reason": "B",  # code of the reason
    "noise": "e",  # probability of a wrong label; NaN where it was not estimated
    "rank": "I",  # 0 is the highest importance of the version
    "importance": "f",  # S_i when the version was made: a page of an old version still shows it
}
CELLS_A_CHUNK = 4680
MEMBERS_A_CHUNK = 16382
"""Chunks of a column and of a set's members: 14 and 4 bytes each, strings of just under 64 KiB."""

_KINDS = {"B": "u1", "H": "<u2", "I": "<u4", "e": "<f2", "f": "<f4", "d": "<f8"}
RECORD = np.dtype([(name, _KINDS[kind]) for name, kind in RECORD_FIELDS.items()])
CELL = np.dtype([(name, _KINDS[kind]) for name, kind in CELL_FIELDS.items()])
MEMBER = np.dtype("<u4")
"""An ordinal; the members of a set stand by importance descending."""
RECORD_STRUCT = struct.Struct("<" + "".join(RECORD_FIELDS.values()))
CELL_STRUCT = struct.Struct("<" + "".join(CELL_FIELDS.values()))

LUA_CONSTANTS = {
    "STATE_FORMAT": STATE_FORMAT,
    "ENTRY_BYTES": ENTRY.size,
    "ENTRIES_A_BUCKET": ENTRIES_A_BUCKET,
    "FIRST_SEGMENT": FIRST_SEGMENT,
    "SEGMENT_GROWTH": SEGMENT_GROWTH,
    "IDS_A_BUCKET": IDS_A_BUCKET,
    "HEADER_BYTES": HEADER.size,
    "RECORD_BYTES": RECORD.itemsize,
    "SHARD_RECORDS": SHARD_RECORDS,
    "CELL_BYTES": CELL.itemsize,
    "CELLS_A_CHUNK": CELLS_A_CHUNK,
    "MEMBER_BYTES": MEMBER.itemsize,
    "MEMBERS_A_CHUNK": MEMBERS_A_CHUNK,
}
"""What every script finds defined."""


def other_format(found: object) -> Conflict:
    """The error of whoever meets state that this file does not describe."""
    return Conflict("state_format", f"the score state has format {found}, this version reads {STATE_FORMAT}")
