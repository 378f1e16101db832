"""What is written beside the code stays in step with it: pins, documents, images, version."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from pydantic_core import PydanticUndefined

from app import errors
from app.errors import REMEDIES
from app.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _table_rows(page: str) -> Iterator[list[str]]:
    for line in (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def test_settings_page_lists_every_setting_with_its_default() -> None:
    documented = {row[0].strip("` "): row[1].strip("`") for row in _table_rows("settings.md")}
    expected = {
        f"GRADSIFT_{name.upper()}": _written(field.default) for name, field in Settings.model_fields.items()
    }
    assert documented == expected


def _written(default: object) -> str:
    assert default is not PydanticUndefined, "every setting has a default"
    if default in (None, ()):
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_errors_page_gives_every_code_with_its_remedy() -> None:
    documented = {row[0].strip("` "): row[2] for row in _table_rows("errors.md") if len(row) == 3}
    assert documented == REMEDIES


def test_errors_page_knows_every_code_that_is_raised() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`([a-z][a-z0-9_]*)`", page))
    missing = {code: where for code, where in _raised_codes() if code not in documented}
    assert not missing


def _raised_codes() -> Iterator[tuple[str, str]]:
    """Codes given as a literal to one of our exceptions, anywhere in the product."""
    own = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.GradSiftError)
    } | {"ModelError", "RowError"}
    for package in ("app", "workers", "models"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in own:
                    first = node.args[0] if node.args else None
                    if isinstance(first, ast.Constant) and isinstance(first.value, str):
                        yield first.value, f"{path.relative_to(ROOT)}:{node.lineno}"


def _pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in pairs), "every pin is exact and names a version, never a place"
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def test_constraints_pin_the_full_closure() -> None:
    """What is installed is walked further; what is not (an extra left out) is only checked itself."""
    pins = _pins()
    extras = PROJECT["optional-dependencies"]
    waiting = [*PROJECT["dependencies"], *(line for lines in extras.values() for line in lines)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = Requirement(waiting.pop())
        name, with_extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, with_extras) in seen or not _applies(wanted):
            continue
        seen.add((name, with_extras))
        if name.startswith(("nvidia-", "cuda-")) or name == "triton":
            continue  # only in torch's CUDA build, which pins them itself
        assert name in pins, f"{name} has no pin in constraints.txt: run `make lock`"
        assert wanted.specifier.contains(pins[name], prereleases=True), f"{wanted} excludes its own pin"
        waiting += _requirements_of(name, with_extras)


def _applies(wanted: Requirement) -> bool:
    return wanted.marker is None or wanted.marker.evaluate({"extra": ""})


def _requirements_of(name: str, extras: frozenset[str]) -> list[str]:
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for line in lines:
        wanted = Requirement(line)
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": e}) for e in ("", *extras)):
            wanted.marker = None
            found.append(str(wanted))
    return found


@pytest.mark.parametrize(
    ("folders", "extras"),
    [
        (("app",), ("otel",)),
        (("models", "workers"), ("worker", "wandb")),
        (("demo", "tests"), ("worker", "demo", "dev", "otel", "wandb")),
    ],
)
def test_every_import_is_declared(folders: tuple[str, ...], extras: tuple[str, ...]) -> None:
    """What happens to be installed by something else may be gone tomorrow."""
    lines = [*PROJECT["dependencies"], *(r for e in extras for r in PROJECT["optional-dependencies"][e])]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    providers = metadata.packages_distributions()
    undeclared = {
        module: where
        for module, where in _imported_modules(folders)
        if not declared & {canonicalize_name(name) for name in providers.get(module, [module])}
    }
    assert not undeclared


def _imported_modules(folders: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Top-level names of third parties, and a place that imports each."""
    ours = {"app", "benchmarks", "demo", "models", "tests", "workers"}
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            for name in (
                {name.partition(".")[0] for name in names} - ours - sys.stdlib_module_names - {"compression"}
            ):  # of 3.14
                yield name, f"{path.relative_to(ROOT)}:{node.lineno}"


def test_torch_is_pinned_without_a_build() -> None:
    assert _pins()["torch"].local is None


def test_the_base_install_has_no_torch() -> None:
    base = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    assert not base & {"torch", "transformers", "tokenizers", "safetensors", "sentence-transformers"}


def test_version_is_the_same_everywhere() -> None:
    version = PROJECT["version"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    images = [service["image"] for service in _compose()["services"].values()]
    own = [image.rpartition(":")[2] for image in images if image.startswith("gradsift-")]
    assert set(own) == {version}
    try:
        installed = metadata.version(PROJECT["name"])
    except metadata.PackageNotFoundError:
        pytest.skip("gradsift is not installed here")
    assert installed == version


def _compose() -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


OURS = ("api", "worker", "predictor", "worker-gpu")
PROFILES = {"worker-gpu": "gpu", "prometheus": "monitoring", "grafana": "monitoring", "flower": "flower"}


def test_compose_is_safe_and_complete() -> None:
    compose = _compose()
    services = compose["services"]
    assert set(services) == {"redis", *OURS, *PROFILES}
    assert "yes" in services["redis"]["command"], "without the append-only file a restart loses scores"
    assert "noeviction" in services["redis"]["command"]
    assert "healthcheck" in services["redis"]
    for name in OURS:
        service = services[name]
        assert service["environment"]["GRADSIFT_API_KEYS"].startswith("${GRADSIFT_API_KEYS:?")
        assert "data:/data" in service["volumes"]
    assert {name: one["profiles"] for name, one in services.items() if "profiles" in one} == {
        name: [profile] for name, profile in PROFILES.items()
    }


@pytest.mark.parametrize("name", sorted(_compose()["services"]))
def test_every_container_is_locked_down(name: str) -> None:
    service = _compose()["services"][name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert "privileged" not in service
    assert re.fullmatch(r"[a-z/-]+:v?[0-9]+\.[0-9.]+", service["image"]), "a tag that moves is no pin"
    if name not in OURS:  # the user of ours is in the Dockerfile
        assert service["user"].partition(":")[0] not in ("0", "root", "")
    for port in service.get("ports", ()):
        assert port.startswith(("127.0.0.1:", "${GRADSIFT_BIND:-127.0.0.1}:"))
    for volume in service["volumes"]:
        place, _, rest = volume.partition(":")
        if place.startswith("./"):
            assert (ROOT / place).exists()
            assert rest.endswith(":ro")
        else:
            assert place in _compose()["volumes"]


def test_compose_sets_only_settings_that_exist() -> None:
    known = {f"GRADSIFT_{name.upper()}" for name in Settings.model_fields}
    for service in _compose()["services"].values():
        given = {name for name in service.get("environment", {}) if name.startswith("GRADSIFT_")}
        assert given <= known


@pytest.mark.parametrize("target", ["api", "worker"])
def test_every_image_drops_root_and_watches_itself(target: str) -> None:
    stages = _stages((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    parent, body = stages[target]
    assert "HEALTHCHECK" in body
    assert "USER 10001" in body + stages[parent][1]
    assert "USER root" not in body


def _stages(dockerfile: str) -> dict[str, tuple[str, str]]:
    parts = re.split(r"^FROM (\S+) AS (\S+)$", dockerfile, flags=re.MULTILINE)[1:]
    return {parts[at + 1]: (parts[at], parts[at + 2]) for at in range(0, len(parts), 3)}


def test_no_file_of_the_package_names_a_machine() -> None:
    """Paths and hosts of whoever built it have no place in what others install."""
    for name in ("constraints.txt", "pyproject.toml", "Makefile", "Dockerfile", "docker-compose.yml"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"file://|/home/|/opt/|index-url\s+https?:", text), name
