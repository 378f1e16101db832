"""What routes are given: the stores, the settings, the dataset of the path."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Path, Query, Request
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from app.api.writers import Writers
from app.contracts import Dataset
from app.services.drawn_maps import DrawnMaps
from app.services.ranked_versions import RankedVersions
from app.settings import Settings
from app.store.state import State

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


def _new_name(name: str) -> str:
    if not re.fullmatch(NAME_PATTERN.removesuffix("$"), name):
        raise PydanticCustomError("invalid_name", "that is no name for a dataset")
    return name


NewName = Annotated[str, AfterValidator(_new_name), Path(json_schema_extra={"pattern": NAME_PATTERN})]


@dataclass(frozen=True)
class Service:
    """One per process, on `app.state.service`."""

    settings: Settings
    state: State
    hint: Callable[[], None]
    versions: RankedVersions = field(default_factory=RankedVersions)
    writers: Writers = field(default_factory=Writers)
    maps: DrawnMaps = field(default_factory=DrawnMaps)
    map_draws: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(1))
    map_selections: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(2))
    """Threads that such work may have at a time, so that look-ups find one."""


async def _service(request: Request) -> Service:  # async: a plain function would be sent to a thread
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(_service)]


def _dataset(
    service: ServiceDep, dataset: Annotated[str, Path(description="The dataset's name.")]
) -> Dataset:
    return service.state.datasets.get(dataset)


DatasetDep = Annotated[Dataset, Depends(_dataset)]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most items of one page.")]
Cursor = Annotated[str | None, Query(max_length=1024, description="`next_cursor` of the page before.")]
Version = Annotated[int | None, Query(ge=1, description="A set version; the current one when left out.")]
