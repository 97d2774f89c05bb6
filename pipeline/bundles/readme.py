"""README.md of a bundle: what it holds, what made it, and how to read it without hiprobe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.bundles.contents import SUMS

SNIPPET = '''\
from pathlib import Path

import numpy as np
import pandas as pd
import zarr

bundle = Path(".")  # the folder of this file
videos = pd.read_parquet(bundle / "videos.parquet")
segments = pd.read_parquet(bundle / "segments.parquet")
group = zarr.open_group(bundle / "{group}", mode="r")


def read(array, kept, prompt=0):
    """One layer, or one [layer, head], of all segments: float32 [segments, dim]."""
    held = array.attrs["layers" if "layers" in array.attrs else "heads"]
    stored = array[:, prompt * len(held) + held.index(kept)]
    if array.attrs["logical_dtype"] == "bfloat16":  # NumPy has none: its bits, as uint16
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32)


for video in videos[videos["array"] != ""].itertuples():
    rows = read(group[video.array], {first})
    own = segments[segments["video_id"] == video.video_id]  # row i is segment i
    print(video.video_id, video.split, video.label, rows.shape, rows.mean())
'''


def readme(said: Mapping[str, Any], what: str) -> str:
    """The text; `said` is what bundle.json says, `what` names layers and heads in words."""
    lines = [
        f"# {_plain(said['run'])}: {what} of {_plain(said['model']) or 'a backbone'}",
        "",
        f"Hidden states of {said['videos']:,} videos, {said['segments']:,} segments: what a frozen "
        "multimodal LLM holds at the last position of its prompt, one row per segment of a video. "
        "It opens with plain zarr and pandas; hiprobe is not needed, and no model.",
        "",
        "## What is here",
        "",
        *_contents(said),
        "",
        "## Read it",
        "",
        "```python",
        _snippet(said).rstrip("\n"),
        "```",
        "",
        "Layer 0 is the embedding output, layer l the output of decoder layer l before the final "
        "norm. An array is [segments, prompts * layers, dim] (of heads: prompts * heads), in the "
        "order of its attributes; zarr checks the crc32c of every chunk that it reads, and "
        f"`sha256sum -c --quiet {SUMS}` checks every file.",
        "",
        "## What made it",
        "",
        *_made(said),
        "",
        "## Go on with hiprobe, without torch",
        "",
        "```",
        "hiprobe run --from-bundle DIR",
        "hiprobe run --from-bundle DIR --set fit.scorer=svm",
        "```",
        "",
        "fits, scores, localises, evaluates and writes the report, with the same figures as the run "
        "that this was made of. Nothing here says under which terms videos, annotations, model or "
        "states may be used: that is for whoever gave you this to say.",
        "",
    ]
    return "\n".join(lines)


def _snippet(said: Mapping[str, Any]) -> str:
    if said["layers"]:
        return SNIPPET.format(group="states.zarr", first=said["layers"][0])
    return SNIPPET.format(group="heads.zarr", first=said["heads"][0])


def _contents(said: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            "videos.parquet",
            "a row per video: path, sha256, split, label, frames, name of its array",
        ),
        ("annotations.parquet", "a row per annotated interval [start_frame, end_frame)"),
        ("segments.parquet", "a row per segment: frames, seconds, split, label; row i of an array"),
        ("states.zarr/" if said["layers"] else "", "one array per video: the layers"),
        ("heads.zarr/" if said["heads"] else "", "one array per video: the attention heads"),
        ("run.toml", "the recipe: every setting of the run"),
        ("bundle.json", "what this file says, for programs"),
        ("dataset.json, artifacts/", "what hiprobe needs to go on: no hidden states"),
        (SUMS, "sha256 of every file"),
    ]
    return [f"* `{name}`: {text}" for name, text in rows if name]


def _made(said: Mapping[str, Any]) -> list[str]:
    packages = ", ".join(f"{name} {version}" for name, version in said["packages"].items())
    found = [
        f"* backbone: {_plain(said['model'])} ({_plain(said['model_type'])}), identity "
        f"`{said['backbone']}` (weights, tokenizer, dtype and attention)",
        f"* stored as {said['dtype']}, {said['dim']} numbers a row"
        if said["layers"]
        else f"* stored as {said['dtype']}",
        f"* sampling: {said['sampling']}",
        *(f"* prompt {n}: `{_plain(p)}`" for n, p in enumerate(said["prompts"])),
        f"* made from {said['made'][0]} to {said['made'][1]}",
        f"* with {packages}",
    ]
    if said["failed"]:
        found.append(f"* {said['failed']} videos failed and have no array")
    return found


def _plain(text: str) -> str:
    """A name on one line, with nothing that Markdown would take for more than text."""
    return "".join(c if c.isprintable() and c not in "`<>[]|*" else "?" for c in text)
