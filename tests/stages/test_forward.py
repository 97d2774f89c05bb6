"""Forward: a video's hidden states, whatever the batches, and whatever interrupts it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cache import shards
from cache.arrays import Heads, States
from cache.errors import ConfigError, ItemError
from cache.fields import notes
from demo.backbone import build_backbone
from manifests import schema
from manifests.table import read_table, write_table
from stages import forward
from stages.backbones import load as loading
from stages.backbones.contract import Captured, Explanation, Picture, Prepared, Prompt, Wanted
from stages.backbones.identity import identify
from stages.backbones.reference import BackboneReference
from stages.contract import Job, Result
from stages.forward import Settings
from stages.video import frames, pixels
from tests.payload import Folder

SEGMENTS = 7
KEYFRAMES = 3


def picture(frame: int) -> NDArray[np.uint8]:
    return np.random.default_rng(frame).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def shown(segment: int) -> list[int]:
    """Frames of a segment; segment 3 begins with a frame of segment 2 in place of a bad one."""
    return [8 * segment + offset if (segment, k) != (3, 0) else 22
            for k, offset in enumerate((1, 4, 6))]  # fmt: skip


def write_plan(folder: Path, segments: int = SEGMENTS) -> Folder:
    folder.mkdir()
    numbers = list(range(segments))
    write_table(
        folder / "segments.parquet",
        schema.SEGMENTS,
        {
            "segment": numbers,
            "start_frame": [8 * n for n in numbers],
            "end_frame": [8 * n + 8 for n in numbers],
            "start_s": [0.8 * n for n in numbers],
            "end_s": [0.8 * n + 0.8 for n in numbers],
        },
    )
    rows = [(n, k, frame) for n in numbers for k, frame in enumerate(shown(n))]
    write_table(
        folder / "keyframes.parquet",
        schema.KEYFRAMES,
        {
            "segment": [row[0] for row in rows],
            "k": [row[1] for row in rows],
            "frame": [row[2] for row in rows],
            "pts_s": [row[2] / 10 for row in rows],
            "substituted": [False] * len(rows),
        },
    )
    return Folder(folder)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> BackboneReference:
    folder = tmp_path_factory.mktemp("backbone") / "small"
    build_backbone(folder)
    identity = identify(str(folder), "", "auto", "sdpa", {})
    return BackboneReference(str(folder), "", "auto", "sdpa", "cpu", identity)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Frames that were read from the video, which is drawn and not decoded here."""
    asked: list[int] = []

    def read(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        assert path.name == "video.mp4"
        assert list(wanted) == sorted(set(wanted))
        for frame in wanted:
            asked.append(frame)
            yield frame, picture(frame)

    monkeypatch.setattr(frames, "read_frames", read)
    return asked


@pytest.fixture
def job(tmp_path: Path, reference: BackboneReference, asked: list[int]) -> Job[Settings]:
    return make_job(tmp_path, "a", reference)


def make_job(
    tmp_path: Path, name: str, reference: BackboneReference, **settings: Any
) -> Job[Settings]:
    plan = tmp_path / "plan"
    out = tmp_path / name
    out.mkdir()
    return Job(
        item="v",
        settings=Settings(**settings),
        out=out,
        inputs={"plan": Folder(plan) if plan.exists() else write_plan(plan)},
        source=tmp_path / "video.mp4",
        backbone=reference,
        partial=tmp_path / "partial",
    )


def content(folder: Path) -> dict[str, bytes]:
    """The files that enter the digest: the size of a batch is told outside of it."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "passes.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


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


@dataclass(eq=False)
class Drawn:
    """A backbone without a network: state = mean of the pixels + layer; can be made to fail."""

    model_type: str = "drawn"
    layers: int = 2
    dim: int = 4
    heads: int = 2
    head_dim: int = 3
    dtype: str = "float32"
    full_batches: bool = False
    spoil: dict[int, float] = field(default_factory=dict)
    """Value to put at layer 1, by number of the segment."""
    room: int = 100
    """Segments that fit into memory at once."""
    fail_at: int = 10**9
    """Number of segments after which it is interrupted."""
    sizes: list[int] = field(default_factory=list)
    seen: int = 0

    def prepare(
        self, keyframes: Sequence[Picture], seconds: Sequence[float], prompts: Sequence[Prompt]
    ) -> Prepared:
        ids = np.arange(3 + len(seconds))
        return Prepared(
            np.stack(keyframes),
            tuple(seconds),
            tuple(ids for _ in prompts),
            tuple(prompt.question for prompt in prompts),
        )

    def forward(self, batch: Sequence[Prepared], wanted: Wanted) -> Captured:
        if len(batch) > self.room:
            raise torch.OutOfMemoryError("no room")
        if self.seen >= self.fail_at:
            raise KeyboardInterrupt
        self.sizes.append(len(batch))
        mean = torch.tensor([float(item.pictures.mean()) for item in batch])
        prompts = len(batch[0].texts)
        states = mean[:, None, None, None] + torch.tensor(wanted.layers)[None, None, :, None]
        states = states + torch.zeros(1, prompts, len(wanted.layers), self.dim)
        for index in range(len(batch)):
            if self.seen + index in self.spoil:
                states[index, 0, 1, 2] = self.spoil[self.seen + index]
        self.seen += len(batch)
        heads = mean[:, None, None, None] * torch.ones(1, prompts, 1, self.head_dim)
        return Captured(
            states.to(getattr(torch, self.dtype)),
            heads if wanted.heads else None,
            torch.full((len(batch), prompts, 2), 0.25) if wanted.yes_no else None,
        )

    def explain(self, *arguments: Any) -> list[Explanation]:
        raise NotImplementedError


def drawn_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: Drawn, name: str, **settings: Any
) -> Job[Settings]:
    monkeypatch.setattr(loading, "load", lambda reference: backbone)
    absent = BackboneReference("none", "", "auto", "sdpa", "cpu", "")
    return make_job(tmp_path, name, absent, **{"batch": 4, **settings})


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_state_that_is_not_finite_names_segment_and_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    job = drawn_job(tmp_path, monkeypatch, Drawn(spoil={5: value}), "a")
    with pytest.raises(ItemError, match="segment 5: layer 1 has a value that is not finite"):
        forward.compute(job)


@pytest.mark.usefixtures("asked")
def test_a_state_beyond_float16_names_layer_and_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = drawn_job(tmp_path, monkeypatch, Drawn(spoil={2: 70_000}), "a", store_dtype="float16")
    with pytest.raises(ItemError, match="segment 2, layer 1: the value 70000 is beyond float16"):
        forward.compute(job)


@pytest.mark.usefixtures("asked")
def test_the_batch_halves_when_memory_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward.compute(drawn_job(tmp_path, monkeypatch, Drawn(), "whole"))
    small = Drawn(room=1)
    job = drawn_job(tmp_path, monkeypatch, small, "halved", batch=5)
    result = forward.compute(job)
    assert small.sizes == [1] * SEGMENTS
    assert result.notes == ("GPU memory ran out: batches of 1 used",)
    assert content(job.out) == content(tmp_path / "whole")


@pytest.mark.usefixtures("asked")
def test_a_segment_that_does_not_fit_alone_is_an_item_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ItemError, match="segment 0 alone does not fit"):
        forward.compute(drawn_job(tmp_path, monkeypatch, Drawn(room=0), "a"))


def interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str = "float32"
) -> dict[str, bytes]:
    """Interrupt a video of 7 segments in shards of 2 after the second; the whole one's files."""
    monkeypatch.setattr(shards, "SHARD_ROWS", 2)
    whole = drawn_job(tmp_path, monkeypatch, Drawn(dtype=dtype), "whole")
    forward.compute(Job(**{**vars(whole), "partial": None}))
    job = drawn_job(tmp_path, monkeypatch, Drawn(dtype=dtype, fail_at=4), "cut")
    with pytest.raises(KeyboardInterrupt):
        forward.compute(job)
    return content(whole.out)


def resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str = "float32"
) -> tuple[Drawn, dict[str, bytes], Result]:
    backbone = Drawn(dtype=dtype)
    job = drawn_job(tmp_path, monkeypatch, backbone, "again")
    result = forward.compute(job)
    return backbone, content(job.out), result


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_interruption_costs_one_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[int], dtype: str
) -> None:
    expected = interrupted(tmp_path, monkeypatch, dtype)
    assert len(list((tmp_path / "partial").iterdir())) == 2
    asked.clear()
    backbone, found, result = resume(tmp_path, monkeypatch, dtype)
    assert backbone.sizes == [2, 1]
    assert found == expected
    assert result.rows == SEGMENTS
    # Segment 0 is read again too: the record shows its prompt.
    assert sorted(set(asked) - set(shown(0))) == sorted(n for s in (4, 5, 6) for n in shown(s))


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("harm", ["flip", "shorten"])
def test_a_damaged_part_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    expected = interrupted(tmp_path, monkeypatch)
    part = next((tmp_path / "partial").glob("00000000-*.part"))
    data = bytearray(part.read_bytes())
    data[10] ^= 1
    part.write_bytes(data if harm == "flip" else data[:-1])
    backbone, found, _ = resume(tmp_path, monkeypatch)
    assert backbone.sizes == [2, 2, 1]
    assert found == expected


@pytest.mark.usefixtures("asked")
def test_a_video_of_one_shard_keeps_no_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward.compute(drawn_job(tmp_path, monkeypatch, Drawn(), "a"))
    assert not (tmp_path / "partial").exists()


@pytest.mark.usefixtures("asked")
def test_heads_and_answers_lie_beside_the_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"heads": ((1, 1),), "yes_no": True, "prompts": ("a", "b"), "layers": (0, 2)}
    job = drawn_job(tmp_path, monkeypatch, Drawn(), "a", **settings)
    forward.compute(job)
    states = States.open(job.out / "states.zarr")
    heads = Heads.open(job.out / "heads.zarr")
    assert (states.layers, states.prompts, heads.prompts) == ((0, 2), 2, 2)
    mean = states.layer(0, prompt=1)[:, :1]
    np.testing.assert_array_equal(states.layer(2, prompt=1), mean + 2 + np.zeros((1, 4)))
    np.testing.assert_array_equal(heads.head(1, 1, prompt=1), np.repeat(mean, 3, axis=1))
    rows = read_table(job.out / "yes_no.parquet", schema.YES_NO).to_pydict()
    assert rows["segment"] == [n for n in range(SEGMENTS) for _ in range(2)]
    assert rows["prompt"] == [0, 1] * SEGMENTS
    assert set(rows["yes"]) == set(rows["no"]) == {0.25}


@pytest.mark.usefixtures("asked")
def test_heads_and_answers_survive_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_ROWS", 2)
    settings = {"heads": ((0, 1),), "yes_no": True}
    whole = drawn_job(tmp_path, monkeypatch, Drawn(), "whole", **settings)
    forward.compute(Job(**{**vars(whole), "partial": None}))
    with pytest.raises(KeyboardInterrupt):
        forward.compute(drawn_job(tmp_path, monkeypatch, Drawn(fail_at=4), "cut", **settings))
    again = Drawn()
    job = drawn_job(tmp_path, monkeypatch, again, "again", **settings)
    forward.compute(job)
    assert again.sizes == [2, 1]
    assert content(job.out) == content(whole.out)


@pytest.mark.usefixtures("asked")
def test_where_rounding_depends_on_the_batch_every_batch_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward.compute(drawn_job(tmp_path, monkeypatch, Drawn(), "as they come"))
    full = Drawn(full_batches=True)
    job = drawn_job(tmp_path, monkeypatch, full, "full")
    forward.compute(job)
    assert full.sizes == [4, 4]
    assert content(job.out) == content(tmp_path / "as they come")


@pytest.mark.usefixtures("asked")
def test_what_the_backbone_does_not_have_is_a_configuration_error(
    tmp_path: Path, reference: BackboneReference
) -> None:
    with pytest.raises(ConfigError, match="names layer 7, and this backbone has layers 0 to 6"):
        forward.compute(make_job(tmp_path, "a", reference, layers=(3, 7)))
    with pytest.raises(ConfigError, match=r"names head \[6, 0\], .* \[0, 0\] to \[5, 3\]"):
        forward.compute(make_job(tmp_path, "b", reference, heads=((6, 0),)))


@pytest.mark.usefixtures("asked")
def test_segments_of_another_shape_wait_for_a_batch_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd(Drawn):
        def prepare(
            self, keyframes: Sequence[Picture], seconds: Sequence[float], prompts: Sequence[Prompt]
        ) -> Prepared:
            item = super().prepare(keyframes, seconds, prompts)
            even = round(seconds[0] * 10) // 8 % 2 == 0
            return item if even else replace(item, pictures=np.repeat(item.pictures, 2, axis=1))

    odd = Odd()
    job = drawn_job(tmp_path, monkeypatch, odd, "a", batch=2)
    forward.compute(job)
    assert sorted(odd.sizes) == [1, 2, 2, 2]
    forward.compute(drawn_job(tmp_path, monkeypatch, Drawn(), "b", batch=2))
    # The mean of a picture does not change when its rows are repeated.
    assert content(job.out) == content(tmp_path / "b")


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
