"""Forward: one prefill per segment, and its hidden state at the last prompt position per layer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cache.errors import ItemError
from cache.fields import at_least, knob, recipe
from stages.contract import Job, Payload, Result

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stages.backbones.batching import Runner
    from stages.backbones.contract import Backbone, Prepared, Prompt
    from stages.backbones.parts import Parts

VERSION = 1

READ_AHEAD = 2
"""Batches that are decoded and prepared while the model is busy."""


def parse_layers(value: Any) -> Any:
    """"all", or a list of layer numbers, sorted and without repetitions."""
    if value == "all":
        return "all"
    if isinstance(value, (list, tuple)) and value and all(_is_count(number) for number in value):
        return tuple(sorted(set(value)))
    raise TypeError('expected "all" or a list of layer numbers, such as [16, 20]; 0 is the embedding')


def parse_heads(value: Any) -> Any:
    """"none", "all", or a list of [layer, head] pairs, sorted and without repetitions."""
    if value in ("none", "all"):
        return value
    if isinstance(value, (list, tuple)) and value and all(_is_pair(pair) for pair in value):
        return tuple(sorted({(layer, head) for layer, head in value}))
    raise TypeError(
        'expected "none", "all" or a list of [layer, head] pairs, both counted from 0, '
        "such as [[18, 4], [23, 27]]"
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(_is_count(n) for n in value)


def _some_prompts(value: Any) -> str | None:
    if not value or any(not prompt.strip() for prompt in value):
        return "must name at least one prompt, none of them empty"
    return "must not name a prompt twice" if len(set(value)) < len(value) else None


def _known_format(value: Any) -> str | None:
    if value and value.count("{image}") != 1:
        return "must hold {image} once, such as 'Frame{number}: {image}\\n'"
    return None


@dataclass(frozen=True)
class Settings:
    """Settings of the forward stage."""

    prompts: tuple[str, ...] = recipe(
        ("Describe the video and decide whether it shows an abnormal event.",),
        "questions that follow the keyframes; all share one pass over the pictures",
        check=_some_prompts,
    )
    system: str = recipe("", "system message; empty for what the chat template puts in")
    frame_format: str = recipe(
        "",
        "how one keyframe stands in the prompt, with {number} and {image}; empty for the "
        "architecture's own way",
        check=_known_format,
    )
    layers: str | tuple[int, ...] = recipe(
        "all",
        'hidden states to keep: "all", or layer numbers such as [16, 20]; the pass ends after the last',
        parse=parse_layers,
    )
    heads: str | tuple[tuple[int, int], ...] = recipe(
        "none",
        'attention heads to keep: "none", "all", or [layer, head] pairs counted from 0',
        parse=parse_heads,
    )
    yes_no: bool = recipe(
        False, "keep the probability that the answer begins with yes and with no, for baselines"
    )
    test_layers: str = knob(
        "all",
        'what is kept of videos that are not probed: "all" that is kept of the probing subset, or '
        '"selected": a second pass that ends at the selected layer or heads',
        choices=("all", "selected"),
    )
    store_dtype: str = recipe(
        "model",
        "number format of the stored states; model keeps them exactly",
        choices=("model", "float16", "float32"),
    )
    batch: int = knob(
        0,
        "segments per pass; 0 finds a number by a short probe; halves when GPU memory runs out",
        check=at_least(0),
    )
    prepare_threads: int = knob(
        2, "threads that resize the keyframes of the next batches", check=at_least(1)
    )


def compute(job: Job[Settings]) -> Result:
    """Write states.zarr [segments, layers + 1, dim] and states.json of one video.

    Reads "plan". Layer 0 is the embedding output, l >= 1 the output of decoder layer l before the
    final norm (HiProbe-VAD, arXiv 2507.17394, section 3). Raises ItemError where the video cannot be
    read, or a state is not finite or does not fit `store_dtype`.
    """
    from cache.arrays import write_states
    from stages.backbones.batching import Runner
    from stages.backbones.contract import Prompt
    from stages.backbones.load import load
    from stages.backbones.parts import Parts

    groups = _keyframes(job.inputs["plan"])
    backbone = load(job.backbone)
    runner = Runner(backbone, job.settings.batch, job.settings.store_dtype)
    parts = Parts(job.partial, runner.logical_dtype) if job.partial is not None else None
    prompt = Prompt(job.settings.system, job.settings.prompt)
    passes = _Passes(job, groups, backbone, runner, parts, prompt)
    began = time.perf_counter()
    write_states(
        job.out / "states.zarr",
        passes.blocks(),
        segments=len(groups),
        layers=backbone.layers + 1,
        dim=backbone.dim,
        logical_dtype=runner.logical_dtype,
    )
    passes.seconds["write"] += time.perf_counter() - began - passes.inside
    _write_record(job, len(groups), len(groups[0]), backbone, runner.logical_dtype)
    halved = runner.batch < job.settings.batch
    return Result(
        rows=len(groups),
        seconds=passes.seconds,
        notes=(f"GPU memory ran out: batches of {runner.batch} used",) if halved else (),
    )


@dataclass
class _Passes:
    """The passes of one video, block by block."""

    job: Job[Settings]
    groups: list[list[int]]
    """Frame numbers of each segment's keyframes."""
    backbone: Backbone
    runner: Runner
    parts: Parts | None
    prompt: Prompt
    seconds: dict[str, float] = field(
        default_factory=lambda: {"read": 0.0, "forward": 0.0, "write": 0.0}
    )
    inside: float = 0.0
    """Seconds spent in `blocks` itself: the rest of the writer's time is writing."""

    def blocks(self) -> Iterator[NDArray[Any]]:
        """The states of each shard, from a kept part or by computing them."""
        from stages.backbones.feeding import read_ahead

        began = time.perf_counter()
        starts, rows = self._starts()
        kept = {start: path for start in starts if (path := self._kept(start, rows)) is not None}
        todo = [start for start in starts if start not in kept]
        with closing(read_ahead(self._prepared(todo, rows), READ_AHEAD)) as batches:
            for start in starts:
                if start in kept and self.parts is not None:
                    block = self.parts.read(kept[start], self._shape(start, rows))
                    self.job.progress(start + len(block), len(self.groups))
                else:
                    block = self._computed(start, rows, batches)
                self.inside += time.perf_counter() - began
                yield block
                began = time.perf_counter()

    def _starts(self) -> tuple[list[int], int]:
        """First segment of each shard, and segments per shard."""
        from cache.arrays import shard_rows

        rows = shard_rows(len(self.groups))
        return list(range(0, len(self.groups), rows)), rows

    def _shape(self, start: int, rows: int) -> tuple[int, int, int]:
        count = min(rows, len(self.groups) - start)
        return count, self.backbone.layers + 1, self.backbone.dim

    def _kept(self, start: int, rows: int) -> Any:
        # A video of one shard has nothing to gain: what is lost is a shard either way.
        if self.parts is None or len(self.groups) <= rows:
            return None
        return self.parts.find(start, self._shape(start, rows))

    def _computed(self, start: int, rows: int, batches: Iterator[list[Prepared]]) -> NDArray[Any]:
        import numpy as np

        count = self._shape(start, rows)[0]
        pieces: list[NDArray[Any]] = []
        done = 0
        while done < count:
            items = next(batches)
            began = time.perf_counter()
            pieces.append(self.runner.run(items, start + done))
            self.seconds["forward"] += time.perf_counter() - began
            done += len(items)
            self.job.progress(start + done, len(self.groups))
        block = np.concatenate(pieces)
        if self.parts is not None and len(self.groups) > rows:
            began = time.perf_counter()
            self.parts.save(start, block)
            self.seconds["write"] += time.perf_counter() - began
        return block

    def _prepared(self, starts: list[int], rows: int) -> Iterator[list[Prepared]]:
        """Batches of inputs of the blocks that are to be computed; none crosses a block."""
        from stages.backbones.feeding import group_pictures, wanted_frames

        spans = [(start, start + self._shape(start, rows)[0]) for start in starts]
        groups = [group for start, end in spans for group in self.groups[start:end]]
        segments = group_pictures(groups, _pictures(self.job, wanted_frames(groups)))
        size = self.job.settings.batch
        for start, end in spans:
            for first in range(start, end, size):
                began = time.perf_counter()
                batch = [
                    self.backbone.prepare(next(segments), self.prompt)
                    for _ in range(min(size, end - first))
                ]
                self.seconds["read"] += time.perf_counter() - began
                yield batch


def _pictures(job: Job[Settings], wanted: list[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The wanted frames: the plan's stored pixels where it has them, else from the video."""
    from stages.video import frames, pixels

    plan = job.inputs["plan"]
    if plan.holds("pixels.parquet"):
        return pixels.read_pixels(plan.file("pixels.parquet"), wanted)
    if job.source is None:
        raise ItemError(
            "the plan holds no pixels and the video file is not at hand: give the video, or sample "
            'with pixels = "webp" where it is'
        )
    return frames.read_frames(job.source, wanted)


def _keyframes(plan: Payload) -> list[list[int]]:
    """Frame numbers of the keyframes of each segment; raises ItemError for an unusable plan."""
    from manifests import schema
    from manifests.table import read_table

    segments = read_table(plan.file("segments.parquet"), schema.SEGMENTS, ["segment"])
    rows = read_table(plan.file("keyframes.parquet"), schema.KEYFRAMES, ["segment", "frame"])
    numbers = segments["segment"].to_pylist()
    groups: dict[int, list[int]] = {number: [] for number in numbers}
    for segment, frame in zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True):
        groups.setdefault(segment, []).append(frame)
    counts = sorted({len(group) for group in groups.values()})
    if numbers != list(range(len(groups))) or len(counts) != 1 or counts[0] < 1:
        raise ItemError(
            f"the plan has {len(numbers)} segments with {counts} keyframes: segments 0, 1, 2... "
            "with equally many keyframes each are expected; sample the video again"
        )
    return [groups[number] for number in numbers]


def _write_record(
    job: Job[Settings], segments: int, keyframes: int, backbone: Backbone, dtype: str
) -> None:
    """Write states.json: what the numbers are, and the very prompt that they stand for."""
    import hashlib

    import numpy as np

    from cache.digest import write_json
    from stages.backbones.contract import Prompt

    prompt = Prompt(job.settings.system, job.settings.prompt)
    blank = [np.zeros((8, 8, 3), dtype=np.uint8)] * keyframes
    shown = backbone.prepare(blank, prompt)
    ids = np.ascontiguousarray(shown.token_ids, dtype="<i8")
    record = {
        "segments": segments,
        "layers": backbone.layers + 1,
        "dim": backbone.dim,
        "dtype": dtype,
        "model_type": backbone.model_type,
        "prompt": prompt.question,
        "system": prompt.system,
        "prompt_text": shown.text,
        "token_ids_sha256": hashlib.sha256(ids.tobytes()).hexdigest(),
    }
    write_json(job.out / "states.json", record)
