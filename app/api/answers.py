"""Answers whose JSON is made here, once: a response model would make and check every field again."""

from __future__ import annotations

import msgspec
from fastapi import Response


def json_answer(body: object) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")
