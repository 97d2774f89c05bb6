"""Identity: it changes with every file and setting that changes numbers, and with nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cache.errors import ConfigError
from stages.backbones import identity
from stages.backbones.identity import DOWNLOADED, identify, resolve, resolved_dtype

GOLDEN = "a88c624abef7ad036bad03be18c160d9ec08fccf8bd1a081d68bb8d337e7fd96"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint as far as identity looks: the contents are not read."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "internvl", "dtype": "bfloat16"}))
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def name(folder: Path, dtype: str = "auto", attention: str = "sdpa") -> str:
    return identify(str(folder), "", dtype, attention, {})


def test_it_is_a_sha256_that_no_place_and_no_time_changes(folder: Path, tmp_path: Path) -> None:
    first = name(folder)
    assert len(first) == 64
    assert int(first, 16) >= 0
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "copy")
    os.utime(moved / "model.safetensors", (1, 1))
    (moved / "README.md").write_text("words")
    (moved / "modeling_custom.py").write_text("code")
    (moved / "sub").mkdir()
    (moved / "sub" / "config.json").write_text("{}")
    assert name(moved) == first


def test_the_golden_identity_does_not_drift(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type":"internvl"}')
    (tmp_path / "a.safetensors").write_bytes(b"w")
    assert name(tmp_path, "float32") == GOLDEN


@pytest.mark.parametrize(
    "file",
    [
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "model-2.safetensors",
        "generation_config.json",
        "preprocessor_config.json",
        "processor_config.json",
        "chat_template.jinja",
        "merges.txt",
        "tokenizer.model",
    ],
)
def test_every_file_that_matters_changes_it(folder: Path, file: str) -> None:
    before = name(folder)
    old = (folder / file).read_text() if (folder / file).exists() else ""
    (folder / file).write_text(old + "\n")
    assert name(folder) != before


def test_dtype_and_attention_change_it_and_auto_is_the_checkpoints_dtype(folder: Path) -> None:
    assert name(folder) == name(folder, "bfloat16")
    assert len({name(folder), name(folder, "float32"), name(folder, attention="eager")}) == 3


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"torch_dtype": "float16"}, "float16"),
        ({"dtype": "torch.bfloat16"}, "bfloat16"),
        ({"text_config": {"torch_dtype": "float32"}}, "float32"),
    ],
)
def test_auto_finds_the_dtype_where_releases_put_it(
    folder: Path, config: dict[str, Any], expected: str
) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    assert resolved_dtype(folder, "auto") == expected


@pytest.mark.parametrize("config", [{}, {"dtype": "float64"}, {"text_config": None}])
def test_a_dtype_that_cannot_be_told_is_asked_for(folder: Path, config: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"set \[backbone\] dtype"):
        name(folder)


def test_files_are_read_once_and_again_when_they_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    whole = identity.file_digest

    def counted(path: Path) -> str:
        read.append(path.name)
        return whole(path)

    monkeypatch.setattr(identity, "file_digest", counted)
    remembered: dict[str, str] = {}
    first = identify(str(folder), "", "auto", "sdpa", remembered)
    assert sorted(read) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert str(folder) not in json.dumps(remembered)
    read.clear()
    assert identify(str(folder), "", "auto", "sdpa", remembered) == first
    assert read == []
    (folder / "model.safetensors").write_bytes(b"WEIGHTS")
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert identify(str(folder), "", "auto", "sdpa", remembered) != first
    assert read == ["model.safetensors"]


def test_what_is_no_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        name(tmp_path / "absent")
    with pytest.raises(ConfigError, match=r"set \[backbone\] model"):
        identify("", "", "auto", "sdpa", {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no config\.json"):
        name(tmp_path / "empty")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"no \*\.safetensors"):
        name(folder)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ConfigError, match="pickles, which are never read"):
        name(folder)
    with pytest.raises(ConfigError, match="leave it empty"):
        identify(str(folder), "main", "auto", "sdpa", {})


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_an_unreadable_configuration_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json"):
        name(folder)


def test_an_incomplete_download_is_noticed(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": "x.safetensors"}}))
    with pytest.raises(ConfigError, match=r"x\.safetensors, which is not there \(1 of 2"):
        name(folder)
    index.write_text("{")
    with pytest.raises(ConfigError, match="unreadable"):
        name(folder)


def test_a_hub_id_is_found_in_the_hubs_cache_without_the_network(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    calls: list[dict[str, Any]] = []

    def download(repository: str, **options: Any) -> str:
        calls.append({"repository": repository, **options})
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert identify("owner/model", "v1", "auto", "sdpa", {}) == name(folder)
    assert resolve("owner/model", "", download=True) == folder
    assert [call["local_files_only"] for call in calls] == [True, False]
    assert [call["revision"] for call in calls] == ["v1", None]
    assert calls[0]["allow_patterns"] == list(DOWNLOADED)
    assert not any(".py" in pattern or ".bin" in pattern for pattern in DOWNLOADED)


def test_a_hub_id_that_is_not_here_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="hf download owner/model --revision v1"):
        resolve("owner/model", "v1", download=False)


def test_no_model_library_is_imported() -> None:
    code = (
        "import sys, stages.backbones.identity, stages.backbones.settings, "
        "stages.backbones.reference, stages.forward, stages.explain; "
        "heavy = {'torch', 'transformers', 'numpy', 'pyarrow', 'zarr', 'huggingface_hub', 'av'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
