"""Model folders that were made to hurt: nothing of them runs, and nothing outside of them is read."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.encoders import load_classifier
from models.encoders.language import load_language_model
from models.errors import ModelError
from tests.models.test_encoders import change_config


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._target),)


@pytest.fixture
def folder(tiny_bert: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bert, tmp_path / "models" / "hostile"))


@pytest.fixture
def crater(tmp_path: Path) -> Path:
    return tmp_path / "crater"


def test_the_bomb_would_go_off(crater: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(crater)))
    assert crater.is_dir()


def refused(folder: Path, **given: Any) -> str:
    codes = set()
    for load in (
        lambda: load_classifier(str(folder), num_labels=2, seed=0, **given),
        lambda: load_language_model(str(folder), seed=0, config_overrides={}, **given),
    ):
        with pytest.raises(ModelError) as caught:
            load()
        assert caught.value.remedy
        codes.add(caught.value.code)
    (code,) = codes
    return code


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00001.bin", "model.bin"])
def test_pickled_weights_are_never_read(folder: Path, crater: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb(crater)))
    assert refused(folder) == "model_not_safetensors"
    assert not crater.exists()


def test_pickles_beside_good_files_are_never_read(folder: Path, crater: Path) -> None:
    bomb = pickle.dumps(Bomb(crater))
    for name in (
        *("pytorch_model.bin", "training_args.bin", "optimizer.pt", "vocab.pkl", "vocab.bin"),
        *("tokenizer.pkl", "spiece.pkl", "adapter_model.bin", "model.pt", "tf_model.h5"),
    ):
        (folder / name).write_bytes(bomb)
    load_classifier(str(folder), num_labels=2, seed=0)
    assert not crater.exists()


def test_an_index_that_names_a_pickle(folder: Path, crater: Path) -> None:
    (folder / "evil.bin").write_bytes(pickle.dumps(Bomb(crater)))
    index = {"metadata": {}, "weight_map": {"classifier.weight": "evil.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert refused(folder) == "model_not_safetensors"
    assert not crater.exists()


@pytest.mark.parametrize(
    "name", ["../other/model.safetensors", "/etc/model.safetensors", "..", "a\\b.safetensors"]
)
def test_an_index_that_leads_out(folder: Path, name: str) -> None:
    index = {"metadata": {}, "weight_map": {"classifier.weight": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert refused(folder) == "model_leads_elsewhere"


def test_a_config_that_names_weights_elsewhere(folder: Path) -> None:
    change_config(folder, transformers_weights="../other/model.safetensors")
    assert refused(folder) == "model_leads_elsewhere"


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_links_that_lead_out(folder: Path, tmp_path: Path, file: str) -> None:
    secret = tmp_path / "secret"
    (folder / file).rename(secret)
    (folder / file).symlink_to(secret)
    assert refused(folder) == "model_leads_elsewhere"


def test_links_within_the_folder_and_in_the_cache_of_the_hub(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").rename(folder / "weights.dat")
    (folder / "model.safetensors").symlink_to("weights.dat")
    load_classifier(str(folder), num_labels=2, seed=0)
    blobs, snapshot = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        shutil.copyfile(file, blobs / file.name)
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    load_classifier(str(snapshot), num_labels=2, seed=0)


def test_a_linked_folder_is_its_target(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(folder)
    load_classifier(str(tmp_path / "alias"), num_labels=2, seed=0)


def test_adapters_of_a_model_elsewhere(folder: Path, tmp_path: Path) -> None:
    """transformers would load the other model, whatever list of allowed ones there is."""
    other = Path(shutil.copytree(folder, tmp_path / "not-allowed"))
    held = {"peft_type": "LORA", "base_model_name_or_path": str(other), "task_type": "SEQ_CLS"}
    (folder / "adapter_config.json").write_text(json.dumps(held))
    assert refused(folder) == "model_leads_elsewhere"


def ask_in_the_config(folder: Path) -> None:
    change_config(
        folder, auto_map={"AutoModelForSequenceClassification": "evil.Model", "AutoConfig": "evil.Config"}
    )


def ask_in_the_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoTokenizer": ["evil.T", None]}})
    )


@pytest.mark.parametrize("ask", [ask_in_the_config, ask_in_the_tokenizer])
def test_code_of_a_model_never_runs(folder: Path, crater: Path, ask: Callable[[Path], None]) -> None:
    """A model that transformers knows is loaded without it."""
    (folder / "evil.py").write_text(f"import os\nos.mkdir({str(crater)!r})\n")
    ask(folder)
    load_classifier(str(folder), num_labels=2, seed=0)
    assert not crater.exists()


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation", "experts_implementation"])
def test_kernels_of_the_hub_are_code(folder: Path, name: str) -> None:
    change_config(folder, **{name: "evil/kernel"})
    assert refused(folder) == "model_needs_remote_code"
    change_config(folder, **{name: {"": "evil/kernel:module"}})
    assert refused(folder) == "model_needs_remote_code"


def test_a_size_beyond_the_bound_is_refused_before_it_is_loaded(folder: Path) -> None:
    size = sum(file.stat().st_size for file in folder.iterdir())
    load_classifier(str(folder), num_labels=2, seed=0, max_bytes=size)
    with (folder / "model-extra.safetensors").open("wb") as sparse:
        sparse.truncate(100 * 2**30)
    assert refused(folder, max_bytes=10 * 2**30) == "model_too_large"
