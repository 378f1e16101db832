"""What sending rows is measured against: FastAPI routes that check rows with pydantic and write nothing."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import uvicorn
from fastapi import FastAPI, Request
from pydantic import BaseModel, Field, ValidationError


class Sample(BaseModel):
    id: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^/\x00-\x1f]+$")]
    text: Annotated[str, Field(min_length=1, max_length=200_000)]
    text_pair: Annotated[str, Field(max_length=200_000)] | None = None
    label: str | int | float | None = None
    group: str | int | None = None
    split: Literal["train", "validation", "test"] = "train"
    weight: Annotated[float, Field(ge=0)] | None = None
    meta: dict[str, str | int | float | bool | None] | None = None


class Samples(BaseModel):
    samples: list[Sample]


def peers() -> FastAPI:
    app = FastAPI()

    @app.post("/json")
    async def as_json(body: Samples) -> dict[str, int]:
        return {"received": len(body.samples)}

    @app.post("/ndjson")
    async def as_ndjson(request: Request) -> dict[str, int]:
        received = rejected = 0
        pending = b""
        async for chunk in request.stream():
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                received += 1
                try:
                    Sample.model_validate_json(line)
                except ValidationError:
                    rejected += 1
        return {"received": received, "rejected": rejected}

    return app


if __name__ == "__main__":
    uvicorn.run(
        peers(),
        port=int(sys.argv[sys.argv.index("--port") + 1]),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )
