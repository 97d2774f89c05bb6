"""All passes of one video: read, prepared, run and written at the same time.

Four kinds of threads with bounded queues between them: one decodes, some resize, this one runs the
model, one per array writes. A long video is worked on shard by shard; a finished shard is kept
outside of the draft, so that an interruption costs a shard and not hours.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.arrays import shard_rows, write_heads, write_states
from cache.digest import write_json
from cache.errors import ItemError
from manifests import schema
from manifests.table import read_table, write_table
from stages.backbones.batching import Numbers, Runner
from stages.backbones.contract import Backbone, Picture, Prepared, Prompt, Wanted
from stages.backbones.feeding import Buckets, Numbered, group_pictures, read_ahead, wanted_frames
from stages.backbones.parts import Parts
from stages.backbones.prompting import token_digest
from stages.backbones.writing import BlockWriter
from stages.contract import Job, Payload, Result

AHEAD = 8
"""Segments that are read and prepared before the model asks for them, beside one batch."""


def run_passes(
    job: Job[Any], backbone: Backbone, wanted: Wanted, prompts: Sequence[Prompt]
) -> Result:
    """Write states.zarr (and heads.zarr, yes_no.parquet) and states.json of one video.

    Reads "plan", and `batch`, `prepare_threads` and `store_dtype` of the settings. Raises ItemError
    where the video cannot be read, or a number is not finite or does not fit `store_dtype`;
    ConfigError where the backbone has no such layer or head.
    """
    segments = _segments(job.inputs["plan"])
    runner = Runner(backbone, wanted, job.settings.batch, job.settings.store_dtype)
    video = _Video(job, segments, backbone, runner, wanted, tuple(prompts))
    try:
        with ExitStack() as stack:
            writers = {name: stack.enter_context(w) for name, w in video.writers().items()}
            rows = video.run(writers)
    finally:
        runner.done()
    if wanted.yes_no:
        write_table(job.out / "yes_no.parquet", schema.YES_NO, _columns(rows))
    video.seconds["forward"] = runner.seconds
    video.seconds["write"] += sum(writer.seconds for writer in writers.values())
    write_json(job.out / "states.json", video.record())
    write_json(job.out / "passes.json", {"batch": runner.batch})
    return Result(
        rows=len(segments),
        seconds=video.seconds,
        # On a GPU the size of a batch moves the last bits: it is told, and makes nothing stale.
        auxiliary=frozenset({"passes.json"}),
        notes=(f"GPU memory ran out: batches of {runner.batch} used",) if runner.halved else (),
    )


@dataclass(frozen=True, slots=True)
class _Segment:
    """The keyframes of one segment."""

    frames: tuple[int, ...]
    seconds: tuple[float, ...]


@dataclass
class _Video:
    """The passes of one video."""

    job: Job[Any]
    segments: list[_Segment]
    backbone: Backbone
    runner: Runner
    wanted: Wanted
    prompts: tuple[Prompt, ...]
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("read", "forward", "write"), 0.0)
    )
    first: Prepared | None = None
    """Segment 0, which stands for all in the record."""
    done: int = 0

    def writers(self) -> dict[str, BlockWriter]:
        """A writer for each array that is wanted."""
        found: dict[str, BlockWriter] = {}
        shared: dict[str, Any] = {
            "segments": len(self.segments),
            "logical_dtype": self.runner.logical_dtype,
            "prompts": len(self.prompts),
            "finished": self.job.finished,
        }
        wanted, backbone, out = self.wanted, self.backbone, self.job.out
        if wanted.layers:
            found["states"] = BlockWriter(
                lambda blocks: write_states(
                    out / "states.zarr", blocks, layers=wanted.layers, dim=backbone.dim, **shared
                )
            )
        if wanted.heads or wanted.whole_heads:
            whole = (backbone.layers, backbone.heads) if wanted.whole_heads else None
            found["heads"] = BlockWriter(
                lambda blocks: write_heads(
                    out / "heads.zarr",
                    blocks,
                    heads=wanted.heads,
                    whole=whole,
                    head_dim=backbone.head_dim,
                    **shared,
                )
            )
        return found

    def run(self, writers: dict[str, BlockWriter]) -> list[NDArray[Any]]:
        """Make every block and hand it to the writers; the yes/no probabilities of each block."""
        rows = shard_rows(len(self.segments))
        starts = range(0, len(self.segments), rows)
        parts = self._parts(rows)
        kept = {s: f for s in starts if parts and (f := parts.find(s, self._shapes(s, rows)))}
        todo = [s for s in starts if s not in kept]
        yes_no = []
        with closing(self._prepared(todo, rows)) as arriving:
            if 0 in kept:
                next(arriving)
            for start in starts:
                if parts and start in kept:
                    block = parts.read(kept[start], self._shapes(start, rows))
                    self._progress(len(next(iter(block.values()))))
                else:
                    block = self._computed(start, rows, arriving)
                    if parts:
                        began = time.perf_counter()
                        parts.save(start, block)
                        self.seconds["write"] += time.perf_counter() - began
                for name, writer in writers.items():
                    writer.put(block[name])
                if "yes_no" in block:
                    yes_no.append(block["yes_no"])
        return yes_no

    def _parts(self, rows: int) -> Parts | None:
        # A video of one shard has nothing to gain: what is lost is a shard either way.
        if self.job.partial is None or len(self.segments) <= rows:
            return None
        return Parts(self.job.partial, self.job.seal)

    def _shapes(self, start: int, rows: int) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and dtype of each array of the block that begins at segment `start`."""
        lead = (min(rows, len(self.segments) - start), len(self.prompts))
        wanted, backbone = self.wanted, self.backbone
        logical = self.runner.logical_dtype
        dtype = "uint16" if logical == "bfloat16" else logical
        found: dict[str, tuple[tuple[int, ...], str]] = {}
        if wanted.layers:
            found["states"] = ((*lead, len(wanted.layers), backbone.dim), dtype)
        if wanted.whole_heads:
            width = backbone.heads * backbone.head_dim
            found["heads"] = ((*lead, backbone.layers, width), dtype)
        elif wanted.heads:
            found["heads"] = ((*lead, len(wanted.heads), backbone.head_dim), dtype)
        if wanted.yes_no:
            found["yes_no"] = ((*lead, 2), "float32")
        return found

    def _computed(self, start: int, rows: int, arriving: Iterator[Numbered]) -> Numbers:
        """One block, from the segments that arrive; they are run in batches of one shape."""
        shapes = self._shapes(start, rows)
        block = {name: np.empty(shape, dtype) for name, (shape, dtype) in shapes.items()}
        count = next(iter(block.values())).shape[0]
        buckets = Buckets()
        for _ in range(count):
            number, item = next(arriving)
            size = self.runner.size(item)
            if batch := buckets.add(number, item, size):
                self._run(batch, start, block)
        for batch in [*buckets.rest(), []]:
            self._run(batch, start, block)
        return block

    def _run(self, batch: list[Numbered], start: int, block: Numbers) -> None:
        """Launch a batch and take in what an earlier one left; no batch takes in the last one."""
        if batch:
            items, numbers = [item for _, item in batch], [number for number, _ in batch]
            finished = self.runner.run(items, numbers)
        else:
            finished = self.runner.finish()
        for done, found in finished:
            for name, values in found.items():
                block[name][[number - start for number in done]] = values
            self._progress(len(done))

    def _progress(self, segments: int) -> None:
        self.done += segments
        self.job.progress(self.done, len(self.segments))

    def _prepared(self, starts: list[int], rows: int) -> Generator[Numbered, None, None]:
        """The segments of these blocks, prepared by threads, in order."""
        wanted = {n for s in starts for n in range(s, min(s + rows, len(self.segments)))}
        # Segment 0 is read in any case: the record shows its prompt.
        numbers = sorted({0} | wanted)
        depth = AHEAD + self.job.settings.batch
        with ThreadPoolExecutor(self.job.settings.prepare_threads, "prepare") as pool:
            submitted = self._submitted(numbers, pool)
            with closing(read_ahead(submitted, depth)) as ahead:
                for number, decoding, future in ahead:
                    item, preparing = future.result()
                    self.seconds["read"] += decoding + preparing
                    if self.first is None:
                        self.first = item
                    yield number, item

    def _submitted(
        self, numbers: list[int], pool: ThreadPoolExecutor
    ) -> Iterator[tuple[int, float, Future[tuple[Prepared, float]]]]:
        """Decode, and hand each segment's pictures to the pool; with the seconds of decoding."""
        groups = [self.segments[number].frames for number in numbers]
        shown = group_pictures(groups, _pictures(self.job, wanted_frames(groups)))
        for number in numbers:
            began = time.perf_counter()
            pictures = next(shown)
            decoding = time.perf_counter() - began
            yield number, decoding, pool.submit(self._prepare, number, pictures)

    def _prepare(self, number: int, pictures: list[Picture]) -> tuple[Prepared, float]:
        began = time.perf_counter()
        item = self.backbone.prepare(pictures, self.segments[number].seconds, self.prompts)
        return item, time.perf_counter() - began

    def record(self) -> dict[str, Any]:
        """What the numbers are, and the very prompts that they stand for (of segment 0)."""
        assert self.first is not None, "segment 0 was prepared"
        wanted = self.wanted
        prompts = [
            {
                "system": prompt.system,
                "question": prompt.question,
                "frame_format": prompt.frame_format,
                "text": text,
                "tokens": len(ids),
                "token_ids_sha256": token_digest(ids),
            }
            for prompt, text, ids in zip(
                self.prompts, self.first.texts, self.first.token_ids, strict=True
            )
        ]
        return {
            "segments": len(self.segments),
            "layers": list(wanted.layers),
            "decoder_layers": self.backbone.layers,
            "dim": self.backbone.dim,
            "heads": "all" if wanted.whole_heads else [list(pair) for pair in wanted.heads],
            "dtype": self.runner.logical_dtype,
            "model_type": self.backbone.model_type,
            "prompts": prompts,
        }


def _columns(blocks: list[NDArray[Any]]) -> dict[str, Any]:
    """The columns of yes_no.parquet."""
    values = np.concatenate(blocks)
    segments, prompts, _ = values.shape
    return {
        "segment": np.repeat(np.arange(segments), prompts),
        "prompt": np.tile(np.arange(prompts), segments),
        "yes": values[..., 0].ravel().astype(np.float64),
        "no": values[..., 1].ravel().astype(np.float64),
    }


def _pictures(job: Job[Any], wanted: list[int]) -> Iterator[tuple[int, Picture]]:
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


def _segments(plan: Payload) -> list[_Segment]:
    """The keyframes of each segment; raises ItemError for an unusable plan."""
    segments = read_table(plan.file("segments.parquet"), schema.SEGMENTS, ["segment"])
    names = ["segment", "frame", "pts_s"]
    rows = read_table(plan.file("keyframes.parquet"), schema.KEYFRAMES, names)
    numbers = segments["segment"].to_pylist()
    groups: dict[int, list[tuple[int, float]]] = {number: [] for number in numbers}
    for segment, frame, pts in zip(*(rows[name].to_pylist() for name in names), strict=True):
        groups.setdefault(segment, []).append((frame, pts))
    counts = sorted({len(group) for group in groups.values()})
    if numbers != list(range(len(groups))) or len(counts) != 1 or counts[0] < 1:
        raise ItemError(
            f"the plan has {len(numbers)} segments with {counts} keyframes: segments 0, 1, 2... "
            "with equally many keyframes each are expected; sample the video again"
        )
    return [
        _Segment(tuple(frame for frame, _ in group), tuple(pts for _, pts in group))
        for group in (groups[number] for number in numbers)
    ]
