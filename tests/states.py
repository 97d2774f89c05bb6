"""Artifacts of the forward stage, as small as a test of the stages after it needs them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.arrays import write_heads, write_states
from cache.digest import write_json

QUESTION = "Is anything wrong?"
OTHER = "What colour is it?"


def write_artifact(
    folder: Path,
    rows: NDArray[Any],
    *,
    layers: Sequence[int] | None = None,
    questions: Sequence[str] = (QUESTION,),
    dtype: str = "float32",
) -> None:
    """Write states.zarr and states.json of rows [segments, layers, dim] for the last question.

    Of every question before it, the states are the same numbers plus 1000 for each step away.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "states.json").exists():
        return
    steps = [np.asarray(1000.0 * n, dtype=rows.dtype) for n in reversed(range(len(questions)))]
    write_states(
        folder / "states.zarr", [np.stack([rows + step for step in steps], axis=1)],
        segments=len(rows), layers=range(rows.shape[1]) if layers is None else layers,
        dim=rows.shape[2], logical_dtype=dtype, prompts=len(questions),
    )  # fmt: skip
    write_json(folder / "states.json", {"prompts": [{"question": text} for text in questions]})


def write_heads_artifact(
    folder: Path,
    rows: NDArray[Any],
    *,
    heads: Sequence[tuple[int, int]] = (),
    questions: Sequence[str] = (QUESTION,),
) -> None:
    """Write heads.zarr and states.json of float32 rows [segments, prompts, heads, head_dim].

    Without `heads` the rows are all heads of a model, [segments, prompts, layers, heads, head_dim].
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole = None if heads else rows.shape[2:4]
    blocks = rows if heads else rows.reshape(*rows.shape[:3], -1)
    write_heads(
        folder / "heads.zarr", [blocks], segments=len(rows), head_dim=rows.shape[-1],
        logical_dtype="float32", heads=heads, whole=whole, prompts=rows.shape[1],
    )  # fmt: skip
    write_json(folder / "states.json", {"prompts": [{"question": text} for text in questions]})
