"""The Kubernetes manifests fit their schemas, each other and the code, and lock their pods down."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import Settings

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("base", "gpu", "hpa", "keda", "service-monitor")
KUBERNETES = ("1.31", "1.34")
OF_OTHERS = {"ScaledObject": "keda.sh/v1alpha1", "ServiceMonitor": "monitoring.coreos.com/v1"}
"""Kinds that an operator brings: the API server itself knows no schema of them."""
Document = dict[str, Any]


def written() -> list[tuple[str, Document]]:
    """Every document as it stands in a file, and where."""
    return [
        (f"{path.parent.name}/{path.name}", document)
        for path in sorted(FOLDER.glob("*/*.yaml"))
        if path.name != "kustomization.yaml"
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]


WRITTEN = written()
BASE = [document for where, document in WRITTEN if where.startswith("base/")]


def named(kind: str) -> dict[str, Document]:
    return {one["metadata"]["name"]: one for one in BASE if one["kind"] == kind}


def workloads() -> dict[str, Document]:
    return named("Deployment") | named("StatefulSet")


def checked(document: Document) -> None:
    if document["kind"] in OF_OTHERS:
        assert document["apiVersion"] == OF_OTHERS[document["kind"]]
        return
    for version in KUBERNETES:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize(("where", "document"), WRITTEN, ids=lambda one: one if isinstance(one, str) else "")
def test_a_document_fits_its_schema(where: str, document: Document) -> None:
    checked(document)


def test_what_does_not_fit_is_found() -> None:
    document = yaml.safe_load((FOLDER / "hpa" / "api.yaml").read_text(encoding="utf-8"))
    document["spec"]["minReplica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        checked(document)


@pytest.mark.parametrize("name", workloads())
def test_a_pod_may_do_no_more_than_it_must(name: str) -> None:
    pod = workloads()[name]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False, "names of services would become settings"
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


def test_pods_run_as_the_user_of_the_image() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for name in named("Deployment"):
        user = workloads()[name]["spec"]["template"]["spec"]["securityContext"]["runAsUser"]
        assert f"USER {user}:" in dockerfile


@pytest.mark.parametrize("name", workloads())
def test_what_a_pod_names_is_there(name: str) -> None:
    spec = workloads()[name]["spec"]
    labels, pod = spec["template"]["metadata"]["labels"], spec["template"]["spec"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    claims = {one["metadata"]["name"] for one in spec.get("volumeClaimTemplates", ())}
    volumes = {one["name"]: one for one in pod.get("volumes", ())}
    for volume in volumes.values():
        if "persistentVolumeClaim" in volume:
            assert volume["persistentVolumeClaim"]["claimName"] in named("PersistentVolumeClaim")
    for container in pod["containers"]:
        assert {one["name"] for one in container["volumeMounts"]} <= volumes.keys() | claims
        for source in container.get("envFrom", ()):
            if "configMapRef" in source:
                assert source["configMapRef"]["name"] in named("ConfigMap")
    if "serviceAccountName" in pod:
        assert pod["serviceAccountName"] in named("ServiceAccount")
    if "serviceName" in spec:
        assert spec["serviceName"] in named("Service")


def test_selectors_find_pods() -> None:
    pods = [one["spec"]["template"]["metadata"]["labels"] for one in workloads().values()]
    selectors = [one["spec"]["selector"] for one in named("Service").values()]
    selectors += [one["spec"]["selector"]["matchLabels"] for one in named("PodDisruptionBudget").values()]
    policies = [one["spec"]["podSelector"] for one in named("NetworkPolicy").values()]
    selectors += [policy["matchLabels"] for policy in policies if "matchLabels" in policy]
    assert len(selectors) > 5
    for selector in selectors:
        assert any(selector.items() <= labels.items() for labels in pods), selector


def test_settings_are_ours_and_images_of_this_version() -> None:
    known = {f"GRADSIFT_{name.upper()}" for name in Settings.model_fields}
    for config in named("ConfigMap").values():
        assert config["data"].keys() <= known
        Settings.model_validate(
            {name.removeprefix("GRADSIFT_").lower(): value for name, value in config["data"].items()}
        )
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    kustomization = yaml.safe_load((FOLDER / "base" / "kustomization.yaml").read_text(encoding="utf-8"))
    assert {one["name"]: one["newTag"] for one in kustomization["images"]} == {
        "gradsift-api": version,
        "gradsift-worker": version,
    }


def test_a_rollout_waits_for_a_worker_that_could_begin_a_job() -> None:
    deployment = yaml.safe_load((FOLDER / "base" / "worker.yaml").read_text(encoding="utf-8"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["startupProbe"]["exec"]["command"][-1] == "/srv/worker_alive.py"
    assert "livenessProbe" not in container, "a Redis that is away must not cost a job its process"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_kustomization_names_the_files_beside_it(overlay: str) -> None:
    folder = FOLDER / overlay
    resources = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert all((folder / name).exists() for name in resources)
    beside = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    assert beside == set(resources) - {"../base"}
    assert ("../base" in resources) == (overlay != "base")


KUBECTL = shutil.which("kubectl")


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_kubectl_renders_fits_too(overlay: str) -> None:
    found = {(one["kind"], one["metadata"]["name"]): one for one in rendered(overlay)}
    for document in found.values():
        checked(document)
        assert document["kind"] == "Namespace" or document["metadata"]["namespace"] == "gradsift"
    worker = found["Deployment", "worker"]["spec"]
    limits = worker["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert ("nvidia.com/gpu" in limits) == (overlay == "gpu")
    assert ("replicas" in worker) == (overlay != "keda"), "two would decide how many there are"
    assert ("replicas" in found["Deployment", "api"]["spec"]) == (overlay != "hpa")


def rendered(overlay: str) -> Iterator[Document]:
    assert KUBECTL is not None
    asked = [KUBECTL, "kustomize", str(FOLDER / overlay)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    yield from yaml.safe_load_all(done.stdout)
