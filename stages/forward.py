"""Forward: one prefill per segment, and its hidden state at the last prompt position per layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cache.fields import at_least, knob, recipe
from stages.contract import Job, Result

if TYPE_CHECKING:
    from stages.backbones.contract import Backbone, Prompt, Wanted

VERSION = 2


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
    """Write states.zarr, states.json and what else is asked for, of one video.

    Reads "plan". states.zarr holds [segments, prompts * layers, dim]: layer 0 is the embedding
    output, l >= 1 the output of decoder layer l before the final norm (HiProbe-VAD, arXiv
    2507.17394, section 3). heads.zarr holds what enters o_proj (HeadHunt-VAD, arXiv 2512.17601),
    yes_no.parquet how the answer would begin. Raises ItemError where the video cannot be read, or
    a number is not finite or does not fit `store_dtype`.
    """
    from stages.backbones.load import load
    from stages.backbones.passes import run_passes

    backbone = load(job.backbone)
    return run_passes(job, backbone, wanted_of(job.settings, backbone), prompts_of(job.settings))


def prompts_of(settings: Settings) -> tuple[Prompt, ...]:
    """The prompts of a configuration, in order."""
    from stages.backbones.contract import Prompt

    return tuple(
        Prompt(settings.system, question, settings.frame_format) for question in settings.prompts
    )


def wanted_of(settings: Settings, backbone: Backbone) -> Wanted:
    """What a configuration keeps of each pass."""
    from stages.backbones.contract import Wanted

    layers, heads = settings.layers, settings.heads
    return Wanted(
        layers=tuple(range(backbone.layers + 1)) if isinstance(layers, str) else layers,
        heads=() if isinstance(heads, str) else heads,
        whole_heads=heads == "all",
        yes_no=settings.yes_no,
    )
