"""The [forward] section of a configuration: how videos are passed through the backbone.

Two stages work by it: `forward`, and `forward_selected`, which keeps less of each video.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cache.errors import ConfigError
from cache.fields import at_least, knob, recipe

VERSION = 2
"""Of the numbers of both stages: what makes other numbers in one makes them in the other."""


def parse_layers(value: Any) -> Any:
    """ "all", or a list of layer numbers, sorted and without repetitions."""
    if value == "all":
        return "all"
    if isinstance(value, (list, tuple)) and value and all(_is_count(number) for number in value):
        return tuple(sorted(set(value)))
    raise TypeError(
        'expected "all" or a list of layer numbers, such as [16, 20]; 0 is the embedding'
    )


def parse_heads(value: Any) -> Any:
    """ "none", "all", or a list of [layer, head] pairs, sorted and without repetitions."""
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


def known_format(value: Any) -> str | None:
    """A check: a frame format shows the picture once."""
    if value and value.count("{image}") != 1:
        return "must hold {image} once, such as 'Frame{number}: {image}\\n'"
    return None


def require_there(
    layers: Iterable[int], heads: Iterable[tuple[int, int]], *, depth: int, width: int
) -> None:
    """Raise ConfigError for a layer or head that a decoder of `depth` layers lacks.

    `width` is the number of heads of a layer.
    """
    for layer in layers:
        if not 0 <= layer <= depth:
            raise ConfigError(
                f"forward.layers names layer {layer}, and this backbone has layers 0 to {depth}"
            )
    for layer, head in heads:
        if not (0 <= layer < depth and 0 <= head < width):
            raise ConfigError(
                f"forward.heads names head {[layer, head]}, and this backbone has heads [0, 0] to "
                f"{[depth - 1, width - 1]}"
            )


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
        check=known_format,
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
        '"selected": a second pass that ends at the selected layer or heads and keeps only these '
        '(of videos whose layers are all in the store, "all" costs nothing)',
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
