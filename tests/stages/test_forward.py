"""Forward: a video's hidden states, whatever the batches, and whatever interrupts it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cache.arrays import States
from cache.errors import ConfigError, ItemError
from cache.fields import notes
from manifests import schema
from manifests.table import read_table, write_table
from stages import forward
from stages.backbones import load as loading
from stages.backbones.contract import Prompt
from stages.backbones.identity import identify
from stages.backbones.reference import BackboneReference
from stages.contract import Job
from stages.forward import Settings
from stages.video import frames, pixels
from tests.plans import KEYFRAMES, SEGMENTS, content, draw_frames, make_job, picture, shown
from tests.small_backbone import build_backbone


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> BackboneReference:
    folder = tmp_path_factory.mktemp("backbone") / "small"
    build_backbone(folder)
    identity = identify(str(folder), "", "auto", "sdpa", {})
    return BackboneReference(str(folder), "", "auto", "sdpa", "cpu", identity)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Frames that were read from the video, which is drawn and not decoded here."""
    return draw_frames(monkeypatch)


@pytest.fixture
def job(tmp_path: Path, reference: BackboneReference, asked: list[int]) -> Job[Settings]:
    return make_job(tmp_path, "a", reference)


def expected_states(reference: BackboneReference, prompt: Prompt) -> NDArray[np.float32]:
    """Segment by segment [segments, layers, dim], with the library's own list of hidden states."""
    backbone: Any = loading.load(reference)
    model = backbone._model
    rows = []
    for segment in range(SEGMENTS):
        keyframes = [picture(frame) for frame in shown(segment)]
        item = backbone.prepare(keyframes, [0.0] * KEYFRAMES, [prompt])
        pixels = backbone._family.visual_inputs(torch.from_numpy(item.pictures)[None], [[]])
        last: list[torch.Tensor] = []
        hook = (
            model.get_decoder()
            .layers[-1]
            .register_forward_hook(
                lambda module, inputs, output, last=last: last.append(output[0, -1])
            )
        )
        with torch.inference_mode():
            found = model(
                input_ids=torch.from_numpy(item.token_ids[0])[None],
                pixel_values=pixels["pixel_values"],
                output_hidden_states=True,
            ).hidden_states
        hook.remove()
        rows.append(torch.stack([layer[0, -1] for layer in found[:-1]] + last).float().numpy())
    return np.stack(rows)


def test_states_are_those_of_the_library(
    job: Job[Settings], reference: BackboneReference, asked: list[int]
) -> None:
    reports: list[tuple[float, float]] = []
    changed = {
        "progress": lambda done, total: reports.append((done, total)),
        "settings": Settings(batch=4),
    }
    result = forward.compute(Job(**{**vars(job), **changed}))
    states = States.open(job.out / "states.zarr")
    expected = expected_states(reference, Prompt("", Settings().prompts[0]))
    assert (states.segments, states.layers, states.dim) == (SEGMENTS, tuple(range(7)), 128)
    assert states.logical_dtype == "float32"
    for layer in range(7):
        np.testing.assert_array_equal(states.layer(layer), expected[:, layer])
    assert result.rows == SEGMENTS
    assert set(result.seconds) == {"read", "forward", "write"}
    assert all(value > 0 for value in result.seconds.values())
    assert reports == [(4, 7), (7, 7)]
    assert len(asked) == len(set(asked)) == SEGMENTS * KEYFRAMES - 1


def test_the_record_says_what_the_numbers_are(
    job: Job[Settings], reference: BackboneReference
) -> None:
    settings = Settings(prompts=("Odd?", "Why, then?"), system="Be brief.", layers=(2, 5), batch=2)
    forward.compute(Job(**{**vars(job), "settings": settings}))
    record = json.loads((job.out / "states.json").read_text())
    assert json.loads((job.out / "passes.json").read_text()) == {"batch": 2}
    prompts = record.pop("prompts")
    assert record == {
        "segments": SEGMENTS,
        "layers": [2, 5],
        "decoder_layers": 6,
        "dim": 128,
        "heads": [],
        "dtype": "float32",
        "model_type": "internvl",
    }
    backbone: Any = loading.load(reference)
    for said, question in zip(prompts, settings.prompts, strict=True):
        text = said.pop("text")
        assert text.startswith(
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nFrame1: <img>"
        )
        assert text.endswith(f"{question}<|im_end|>\n<|im_start|>assistant\n")
        assert text.count("<IMG_CONTEXT>") == KEYFRAMES
        expanded = text.replace("<IMG_CONTEXT>", "<IMG_CONTEXT>" * 4)
        ids = np.asarray(backbone._family.tokenizer(expanded)["input_ids"], dtype="<i8")
        assert said == {
            "question": question,
            "system": "Be brief.",
            "frame_format": "",
            "tokens": len(ids),
            "token_ids_sha256": hashlib.sha256(ids.tobytes()).hexdigest(),
        }


@pytest.mark.usefixtures("asked")
def test_bytes_depend_neither_on_batches_nor_on_the_run(
    tmp_path: Path, reference: BackboneReference
) -> None:
    found = []
    for name, batch in (("a", 4), ("b", 1), ("c", 3), ("d", 50), ("e", 0)):
        job = make_job(tmp_path, name, reference, batch=batch)
        forward.compute(job)
        found.append(content(job.out))
    assert all(each == found[0] for each in found)
    assert set(found[0]) == {"states.json", "states.zarr/zarr.json", "states.zarr/c/0/0/0"}


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    ("dtype", "store", "logical"),
    [
        ("bfloat16", "model", "bfloat16"),
        ("bfloat16", "float32", "float32"),
        ("float32", "float16", "float16"),
    ],
)
def test_states_are_stored_as_asked(
    tmp_path: Path, reference: BackboneReference, dtype: str, store: str, logical: str
) -> None:
    other = BackboneReference(reference.model, "", dtype, "sdpa", "cpu", "")
    job = make_job(tmp_path, "a", other, store_dtype=store)
    forward.compute(job)
    states = States.open(job.out / "states.zarr")
    assert states.logical_dtype == logical
    expected = expected_states(other, Prompt("", Settings().prompts[0]))
    if store == "float16":
        expected = expected.astype(np.float16).astype(np.float32)
    for layer in range(7):
        np.testing.assert_array_equal(states.layer(layer), expected[:, layer])


def test_stored_pixels_take_the_place_of_the_video(
    tmp_path: Path, job: Job[Settings], reference: BackboneReference, asked: list[int]
) -> None:
    forward.compute(job)
    wanted = list(asked)
    asked.clear()
    pixels.write_pixels(
        tmp_path / "plan" / "pixels.parquet", ((n, picture(n)) for n in wanted), "webp"
    )
    stored = make_job(tmp_path, "b", reference)
    forward.compute(Job(**{**vars(stored), "source": None}))
    assert not asked
    assert content(stored.out) == content(job.out)


def test_without_video_and_pixels_it_says_what_to_do(job: Job[Settings]) -> None:
    with pytest.raises(ItemError, match="no pixels and the video file is not at hand"):
        forward.compute(Job(**{**vars(job), "source": None}))


def test_a_video_that_ends_early_is_an_item_error(
    job: Job[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "read_frames", lambda path, wanted: iter([(1, picture(1))]))
    with pytest.raises(ItemError, match="before frame 4"):
        forward.compute(job)


def test_an_error_of_the_reader_reaches_the_caller(
    job: Job[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        yield wanted[0], picture(wanted[0])
        raise ItemError("frame 4 cannot be decoded")

    monkeypatch.setattr(frames, "read_frames", read)
    with pytest.raises(ItemError, match="frame 4 cannot"):
        forward.compute(job)


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("harm", ["keyframe", "segment"])
def test_a_plan_with_holes_is_refused(job: Job[Settings], tmp_path: Path, harm: str) -> None:
    name = {"keyframe": "keyframes", "segment": "segments"}[harm]
    table = {"keyframes": schema.KEYFRAMES, "segments": schema.SEGMENTS}[name]
    path = tmp_path / "plan" / f"{name}.parquet"
    rows = read_table(path, table).slice(1).to_pydict()
    write_table(path, table, rows)
    with pytest.raises(ItemError, match="sample the video again"):
        forward.compute(job)


@pytest.mark.usefixtures("asked")
def test_a_changed_checkpoint_is_refused(tmp_path: Path, reference: BackboneReference) -> None:
    other = BackboneReference(reference.model, "", "auto", "sdpa", "cpu", "0" * 64)
    with pytest.raises(ConfigError, match="plan again"):
        forward.compute(make_job(tmp_path, "a", other))


@pytest.mark.usefixtures("asked")
def test_what_the_backbone_does_not_have_is_a_configuration_error(
    tmp_path: Path, reference: BackboneReference
) -> None:
    with pytest.raises(ConfigError, match="names layer 7, and this backbone has layers 0 to 6"):
        forward.compute(make_job(tmp_path, "a", reference, layers=(3, 7)))
    with pytest.raises(ConfigError, match=r"names head \[6, 0\], .* \[0, 0\] to \[5, 3\]"):
        forward.compute(make_job(tmp_path, "b", reference, heads=((6, 0),)))


def test_settings_take_all_and_lists() -> None:
    def parsed(name: str, value: Any) -> Any:
        parse = notes(Settings)[name].parse
        assert parse is not None
        return parse(value)

    assert parsed("layers", "all") == "all"
    assert parsed("layers", [20, 3, 20]) == (3, 20)
    assert parsed("heads", "none") == "none"
    assert parsed("heads", [[18, 4], [3, 1], [18, 4]]) == ((3, 1), (18, 4))
    for name, value in (
        ("layers", []), ("layers", "some"), ("layers", [-1]), ("layers", [True]), ("layers", 3),
        ("heads", []), ("heads", [[1]]), ("heads", [1, 2]), ("heads", [[1, -2]]), ("heads", "some"),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="expected"):
            parsed(name, value)
