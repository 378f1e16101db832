"""`/` and what it loads. The files under `static/` are built from `web/` in the repository.

The page asks the API as any client does, with the key that its user gives it. So it needs no key itself, and
no script, style or image from anywhere else.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

STATIC = Path(__file__).with_name("static")
router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> FileResponse:
    return FileResponse(STATIC / "index.html")
