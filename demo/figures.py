"""What the shipped weights can do, recorded beside them: figures.json and the model card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from demo.acts import BY_NAME, KINDS
from demo.cast import LEVELS
from demo.checkpoint import CARD, FIGURES
from demo.exam import Answered, backbone_in, examine

SEED, CLIPS = 1_000_003, 1000
"""Of the exam: clips that training, which has other seeds, never draws."""


def take(folder: Path, pool: Executor, clips: int = CLIPS) -> list[Answered]:
    """Let the checkpoint in a folder answer the first clips of the exam."""
    return examine(backbone_in(folder), SEED, clips, "held out", pool)


def figures(answered: Sequence[Answered]) -> dict[str, Any]:
    """Everything that is recorded of an exam: shares, and each single answer."""
    groups = {
        group: [a for a in answered if a.group == group]
        for group in ("normal", "look-alike", "anomalous")
    }
    return {
        "seed": SEED,
        "clips": len(answered),
        "yes_no": _share([a.right for a in answered]),
        "named": _share([a.named for a in answered]),
        "captions": _share([a.said.startswith(a.truth) for a in answered]),
        "yes_no_by_group": {name: _share([a.right for a in g]) for name, g in groups.items()},
        "named_by_group": {name: _share([a.named for a in g]) for name, g in groups.items()},
        "anomalous_by_subtlety": {
            str(level): _share([a.right for a in groups["anomalous"] if a.level == level])
            for level in LEVELS
        },
        "named_by_kind": {
            kind.name: _share([a.named for a in answered if a.kind == kind.name]) for kind in KINDS
        },
        # One digit per clip, so that the first few can be checked alone.
        "right": "".join(str(int(a.right)) for a in answered),
        "named_each": "".join(str(int(a.named)) for a in answered),
    }


def _share(values: Sequence[bool]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None


def record(folder: Path, answered: Sequence[Answered], training: Mapping[str, Any]) -> None:
    """Write figures.json and README.md into the folder of a checkpoint."""
    found = {"training": dict(training), "exam": figures(answered)}
    (folder / FIGURES).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / CARD).write_text(card(found, (folder / "model.safetensors").stat().st_size), "utf-8")


def recorded_exam(folder: Path) -> dict[str, Any]:
    """The figures in the folder of a checkpoint; raises FileNotFoundError where there are none."""
    found: dict[str, Any] = json.loads((folder / FIGURES).read_text(encoding="utf-8"))["exam"]
    return found


def differences(folder: Path, answered: Sequence[Answered]) -> list[str]:
    """Which answers are not the recorded ones, in words; empty where all are."""
    recorded = recorded_exam(folder)
    now = figures(answered)
    told = {"right": "yes or no", "named_each": "the event's name"}
    return [
        f"clip {number} ({answer.kind}, subtlety {answer.level}): {told[name]} is "
        f"{'right' if now[name][number] == '1' else 'wrong'}, recorded is the contrary; it said: {answer.said}"
        for name in told
        for number, answer in enumerate(answered)
        if now[name][number] != recorded[name][number]
    ]


def figures_text(found: Mapping[str, Any]) -> str:
    """An exam's figures as a person reads them."""
    rows = [
        ("yes or no", found["yes_no"], found["yes_no_by_group"]),
        ("event named", found["named"], found["named_by_group"]),
    ]
    lines = [f"{found['clips']} clips of held-out scenes and colours, seed {found['seed']}"]
    for name, share, groups in rows:
        parts = ", ".join(f"{group} {_percent(value)}" for group, value in groups.items())
        lines.append(f"  {name:12s} {_percent(share)}  ({parts})")
    levels = ", ".join(f"{n}: {_percent(v)}" for n, v in found["anomalous_by_subtlety"].items())
    lines.append(f"  anomalous, by subtlety  {levels}")
    lines.append(f"  whole caption right  {_percent(found['captions'])}")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def card(found: Mapping[str, Any], size: int) -> str:
    """The model card."""
    exam, training = found["exam"], found["training"]
    kinds = "\n".join(
        f"| {name} | {BY_NAME[name].group} | {_percent(share)} |"
        for name, share in exam["named_by_kind"].items()
    )
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---

# The small backbone of hiprobe's demonstration

An InternVL (transformers' `InternVLForConditionalGeneration`: a vision transformer, pixel shuffle, a
projector, a Qwen2 decoder) of {training["parameters"]:,} parameters, trained from scratch on a synthetic
surveillance world. Weights in half precision, {size / 1e6:.1f} MB, computed with in float32. It
answers whether a clip is abnormal and describes what happens, in the words of that world only.

It exists so that `hiprobe demo`, the tutorial and the tests mean something without a download. It is
loaded by the same code as any downloaded checkpoint.

## Data

Clips of `demo/`'s world: {len(KINDS)} kinds of acts (10 anomalous, a look-alike of each, 7 ordinary)
in 6 kinds of scenes, 3 levels of subtlety, day, evening and night, rain and snow, noise, compression.
Rendered while it trains, from seed {training["recipe"]["seed"]}; no real footage, no third-party data.
Scenes, and the colours of clothes and of moving cars, that the figures below rest on never occur in
training.

## Training

`python -m demo.train`: {training["recipe"]["looks"]:,} steps of {training["recipe"]["glances"]} single
pictures for the vision tower alone (what each patch shows), then {training["recipe"]["steps"]:,} steps
of {training["recipe"]["batch"]} clips with two questions each for the whole model. Muon and AdamW,
bfloat16 products. {training["minutes"]:.0f} minutes on {training["where"]}.

## Figures

```
{figures_text(exam)}
```

`python -m demo.train --check` lets these weights answer the same clips again and compares.

| event | group | named |
|---|---|---|
{kinds}

## Limits

It knows nothing but this world: of a real camera's pictures it says something, and it is meaningless.
Its vocabulary is the captions of the world. Acts that have just begun, or whose actors have left the
picture, cannot be told, and are part of the exam. Figures say how the method behaves here, not how it
does on real videos.

## Licence

Apache-2.0, like hiprobe.
"""
