"""A store of synthetic hidden states, as stages sample and forward would have left it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache.arrays import States, shard_rows, write_states
from cache.digest import read_json, write_json
from cache.shards import to_bfloat16_bits
from cache.store import Store
from manifests.schema import SEGMENTS
from manifests.table import write_table

POOL = 2048
"""Different random rows; which of them a segment has differs from layer to layer."""
MEAN_LENGTH = 300
"""Segments of a video of UCF-Crime, about."""
FRAMES = 24
QUESTION = "Describe the video and decide whether it shows an abnormal event."


@dataclass(frozen=True)
class Made:
    """A store of hidden states, as its index.json has it."""

    root: Path
    segments: int
    layers: int
    dim: int
    dtype: str
    videos: list[dict[str, Any]]
    """name, label, and key and digest of its artifacts of stages sample and forward."""

    @classmethod
    def read(cls, root: Path) -> Made:
        return cls(root, **read_json(root / "index.json"))

    @property
    def bytes(self) -> int:
        size = 4 if self.dtype == "float32" else 2
        return self.segments * self.layers * self.dim * size

    def path(self, video: dict[str, Any]) -> Path:
        return Store(self.root / "store").folder("forward", video["forward"][0]) / "states.zarr"

    def probed(self) -> tuple[list[Any], list[Any]]:
        """The hidden states of every video, opened, and the labels of its segments."""
        from stages.probes.states import ProbedStates

        opened = [ProbedStates(v["name"], States.open(self.path(v)), 0) for v in self.videos]
        pairs = zip(opened, self.videos, strict=True)
        return opened, [np.full(states.segments, video["label"]) for states, video in pairs]


def make(root: Path, segments: int, layers: int, dim: int, dtype: str) -> None:
    """Write the store, and what is in it."""
    generator = np.random.default_rng(0)
    shares = generator.lognormal(sigma=1.1, size=max(2, segments // MEAN_LENGTH))
    borders = np.round(np.cumsum(shares) / shares.sum() * segments).astype(int)
    lengths = np.maximum(1, np.diff(borders, prepend=0)).tolist()
    # Hidden states have some dimensions far from zero and far wider than the others.
    scale = np.exp(generator.normal(size=dim))
    pool = scale * (generator.normal(size=(POOL, dim)) + generator.normal(size=dim))
    stored = pool.astype(np.float32)
    rows = to_bfloat16_bits(stored) if dtype == "bfloat16" else stored.astype(dtype)
    store, videos = Store.open(root / "store"), []
    for number, length in enumerate(lengths):
        made = {}
        for stage in ("sample", "forward"):
            with store.draft(stage, 1, {}, {"video": str(number)}) as draft:
                if stage == "sample":
                    write_plan(draft.path, length)
                else:
                    write_features(draft.path, number, length, layers, rows, dtype)
                artifact = store.publish(draft, rows=length)
            made[stage] = (artifact.key, artifact.digest)
        videos.append({"name": f"video{number:04}", "label": number % 2, **made})
    said = {"segments": sum(lengths), "layers": layers, "dim": dim, "dtype": dtype}
    write_json(root / "index.json", {**said, "videos": videos})


def write_plan(folder: Path, segments: int) -> None:
    starts = FRAMES * np.arange(segments)
    columns = {
        "segment": np.arange(segments), "start_frame": starts, "end_frame": starts + FRAMES,
        "start_s": starts / 30, "end_s": (starts + FRAMES) / 30,
    }  # fmt: skip
    write_table(folder / "segments.parquet", SEGMENTS, columns)


def write_features(
    folder: Path, number: int, segments: int, layers: int, pool: Any, dtype: str
) -> None:
    """states.zarr and states.json of a video."""
    step = shard_rows(segments)

    def blocks() -> Any:
        for start in range(0, segments, step):
            inside = np.arange(start, min(start + step, segments))
            at = (7919 * number + inside[:, None] + 131 * np.arange(layers)) % POOL
            yield pool[at][:, None]

    write_states(
        folder / "states.zarr", blocks(), segments=segments, layers=range(layers),
        dim=pool.shape[1], logical_dtype=dtype,
    )  # fmt: skip
    write_json(folder / "states.json", {"prompts": [{"question": QUESTION}]})
