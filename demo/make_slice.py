"""Cuts demo/reviews.csv.gz out of the full table of clothing reviews.

    python -m demo.make_slice clothing_reviews.csv.gz demo/reviews.csv.gz

The source is a gzip CSV with the columns id, title, review, rating, recommended and department. The same
source gives the same rows in the same order: they are ordered by a hash of their id, not at random.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from demo.slips import is_slip

ROWS = 2_500
SLIPS = 120
COLUMNS = ("id", "text", "recommended", "rating", "department")
Row = Mapping[str, str]


def main(source: Path, target: Path) -> None:
    rows = _distinct(_read(source))
    slips = [row for row in rows if is_slip(row)]
    others = [row for row in rows if not is_slip(row)]
    chosen = _proportional(slips, SLIPS) + _proportional(others, ROWS - SLIPS)
    _write(target, sorted(chosen, key=_place))
    print(f"{target}: {len(chosen):,} of {len(rows):,} reviews, {SLIPS} of {len(slips)} label slips")


def _read(source: Path) -> list[Row]:
    with gzip.open(source, "rt", encoding="utf-8", newline="") as lines:
        return [
            {
                "id": row["id"],
                "text": _text(row["title"], row["review"]),
                "recommended": row["recommended"],
                "rating": row["rating"],
                "department": row["department"],
            }
            for row in csv.DictReader(lines)
        ]


def _text(title: str, review: str) -> str:
    title, review = (" ".join(part.split()) for part in (title, review))
    if not title:
        return review
    return f"{title} {review}" if title[-1] in ".!?" else f"{title}. {review}"


def _distinct(rows: Iterable[Row]) -> list[Row]:
    by_text: dict[str, Row] = {}
    for row in rows:
        by_text.setdefault(row["text"], row)
    return list(by_text.values())


def _proportional(rows: list[Row], wanted: int) -> list[Row]:
    """`wanted` rows with the shares of (rating, recommended) that `rows` have, by largest remainders."""
    strata: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in sorted(rows, key=_place):
        strata[row["rating"], row["recommended"]].append(row)
    exact = {key: wanted * len(held) / len(rows) for key, held in strata.items()}
    quota = {key: int(share) for key, share in exact.items()}
    by_remainder = sorted(exact, key=lambda key: (quota[key] - exact[key], key))
    for key in by_remainder[: wanted - sum(quota.values())]:
        quota[key] += 1
    return [row for key, held in strata.items() for row in held[: quota[key]]]


def _place(row: Row) -> str:
    return hashlib.sha256(row["id"].encode()).hexdigest()


def _write(target: Path, rows: Iterable[Row]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    # No time stamp and no name in the header: the same rows are the same bytes.
    target.write_bytes(gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
