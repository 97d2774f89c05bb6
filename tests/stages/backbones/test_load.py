"""Loading: once per process, only known architectures, only the files that were planned with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cache.errors import ConfigError
from cache.fields import notes
from stages.backbones.identity import identify
from stages.backbones.load import forget, load
from stages.backbones.reference import BackboneReference
from stages.backbones.settings import BackboneSettings


@pytest.fixture
def reference(checkpoint: Path) -> Iterator[BackboneReference]:
    yield BackboneReference(str(checkpoint), "", "auto", "sdpa", "cpu", "")
    forget()


def test_a_folder_loads_once(reference: BackboneReference) -> None:
    first = load(reference)
    assert load(replace(reference)) is first
    assert (first.model_type, first.layers, first.dim, first.dtype) == (
        "internvl",
        6,
        128,
        "float32",
    )
    assert load(replace(reference, dtype="bfloat16")).dtype == "bfloat16"


def test_the_identity_that_was_planned_with_is_checked(
    reference: BackboneReference, checkpoint: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    identity = identify(str(folder), "", "auto", "sdpa", {})
    planned = replace(reference, model=str(folder), identity=identity)
    assert load(planned).layers == 6
    forget()
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(ConfigError, match="plan again"):
        load(planned)
    with pytest.raises(ConfigError, match="plan again"):
        load(replace(planned, attention="eager"))


def with_type(checkpoint: Path, folder: Path, model_type: str) -> str:
    shutil.copytree(checkpoint, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": model_type}))
    return str(folder)


def test_an_unknown_architecture_is_refused_with_the_known_ones(
    reference: BackboneReference, checkpoint: Path, tmp_path: Path
) -> None:
    model = with_type(checkpoint, tmp_path / "new", "hyperlens")
    with pytest.raises(ConfigError, match="'hyperlens'; supported: internvl, internvl_chat, llava"):
        load(replace(reference, model=model))


def test_a_device_that_is_not_there_is_refused(
    reference: BackboneReference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert load(replace(reference, device="auto")).layers == 6
    with pytest.raises(ConfigError, match="sees no GPU"):
        load(replace(reference, device="cuda:0"))
    with pytest.raises(ConfigError, match="expected auto, cpu"):
        load(replace(reference, device="abacus"))


def test_code_in_a_checkpoint_is_never_run(
    reference: BackboneReference, checkpoint: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "evil")
    trap = tmp_path / "executed"
    (folder / "evil.py").write_text(f"open({str(trap)!r}, 'w').close()\nclass M: pass\n")
    for file in ("config.json", "tokenizer_config.json", "preprocessor_config.json"):
        content = json.loads((folder / file).read_text())
        names = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForImageTextToText"), "evil.M")
        content["auto_map"] = {**names, "AutoTokenizer": ["evil.M", "evil.M"]}
        (folder / file).write_text(json.dumps(content))
    assert load(replace(reference, model=str(folder))).layers == 6
    assert not trap.exists()


def test_settings_know_recipe_from_knob() -> None:
    kinds = {name: note.kind for name, note in notes(BackboneSettings).items()}
    assert kinds == {
        "model": "knob",
        "revision": "knob",
        "identity": "knob",
        "dtype": "recipe",
        "attention": "recipe",
        "device": "knob",
    }
