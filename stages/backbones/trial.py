"""A loaded backbone tried on two synthetic segments: what a person wants to know before a long run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from stages.backbones.contract import Backbone, Picture, Prompt, Wanted


@dataclass(frozen=True, slots=True)
class Trial:
    """What was seen in the passes of two segments."""

    device: str
    """Where it ran, with the name of a GPU."""
    tokens: int
    """Tokens of the prompt, the visual ones included."""
    first_seconds: float
    """The first pass, in which a device prepares itself."""
    seconds: float
    """The second pass, prepared input to states in memory of the CPU."""
    prepare_seconds: float
    """Making the second segment's keyframes and prompt into an input."""
    largest: float
    """Largest magnitude of a finite state."""
    largest_layer: int
    """The layer where it is."""
    not_finite: tuple[int, ...]
    """Layers with a state that is not finite."""
    alike: tuple[int, ...]
    """Layers, the embedding left out, whose states of the two segments are the same."""
    peak_bytes: int | None
    """Most memory of the GPU in use, weights included; None on a CPU."""


def moving_square(keyframes: int, height: int, width: int, *, backwards: bool) -> list[Picture]:
    """A bright square that crosses a shaded ground from left to right, or the other way."""
    side = max(2, min(height, width) // 3)
    across = np.linspace(0, 200, width, dtype=np.float32)
    down = np.linspace(0, 120, height, dtype=np.float32)
    ground = np.stack(
        [np.broadcast_to(across, (height, width)), np.broadcast_to(down[:, None], (height, width)),
         (across + down[:, None]) / 2],
        axis=2,
    )  # fmt: skip
    top = (height - side) // 2
    shown = []
    for number in range(keyframes):
        share = number / max(keyframes - 1, 1)
        left = round((1 - share if backwards else share) * (width - side))
        picture = ground.astype(np.uint8)
        picture[top : top + side, left : left + side] = (255, 220, 40)
        shown.append(picture)
    return shown


def try_out(
    backbone: Backbone, prompt: Prompt, height: int, width: int, when: Sequence[float]
) -> Trial:
    """Prepare and run two different segments, one after the other, keeping every layer.

    `height` and `width` in pixels; `when` has the time in seconds of each keyframe.
    """
    wanted = Wanted(tuple(range(backbone.layers + 1)))
    states, took, prepared_in, tokens, device = [], [], 0.0, 0, torch.device("cpu")
    for backwards in (False, True):
        frames = moving_square(len(when), height, width, backwards=backwards)
        began = time.perf_counter()
        item = backbone.prepare(frames, when, [prompt])
        prepared_in = time.perf_counter() - began
        tokens = len(item.token_ids[0])
        began = time.perf_counter()
        found = backbone.forward([item], wanted).states
        states.append(found[0, 0].float().cpu())  # waits for the device
        took.append(time.perf_counter() - began)
        device = found.device
    largest, layer = _largest(states)
    gpu = device.type == "cuda"
    return Trial(
        device=f"{device} ({torch.cuda.get_device_name(device)})" if gpu else str(device),
        tokens=tokens,
        first_seconds=took[0],
        seconds=took[1],
        prepare_seconds=prepared_in,
        largest=largest,
        largest_layer=layer,
        not_finite=_layers(~(states[0].isfinite() & states[1].isfinite()).all(dim=1)),
        alike=tuple(n for n in _layers((states[0] == states[1]).all(dim=1)) if n),
        peak_bytes=int(torch.cuda.max_memory_allocated(device)) if gpu else None,
    )


def _largest(states: Sequence[torch.Tensor]) -> tuple[float, int]:
    """The largest finite magnitude [layers, dim] of several, and its layer."""
    together = torch.stack(list(states)).abs()
    per_layer = together.where(together.isfinite(), 0).amax(dim=(0, 2))
    layer = int(per_layer.argmax())
    return float(per_layer[layer]), layer


def _layers(flags: torch.Tensor) -> tuple[int, ...]:
    return tuple(int(number) for number in flags.nonzero().flatten())
