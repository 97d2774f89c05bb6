"""What the `hiprobe backbone` commands do: describe a checkpoint, try it, show its prompts."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.errors import ConfigError
from pipeline.config import Config
from pipeline.estimates import operations
from pipeline.gather import model_path
from pipeline.progress import size
from stages import sample
from stages.backbones.cost import Cost, cost_of, stored_bytes, tokens_of
from stages.backbones.identity import identify, is_hub_id, resolve, resolved_dtype
from stages.backbones.load import family_of, load
from stages.backbones.prompting import token_digest
from stages.backbones.reference import BackboneReference
from stages.backbones.shape import ModelShape, shape_of
from stages.forward import Settings, prompts_of
from stages.video.sampling import place_keyframes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stages.backbones.contract import Family, Prompt

DATA_SETS = {"UCF-Crime": 576_000, "XD-Violence": 780_000}
"""Segments of 24 frames in the whole of each, about."""
DEPTHS = (1 / 2, 5 / 8, 3 / 4)
"""Parts of the decoder after which a pass may end, as examples; 5/8 is 20 of 32 layers."""
LARGEST_FLOAT16 = 65504
FPS = 30.0
"""Frames per second of the video that a checkpoint is tried on."""
LAYOUTS = {"internvl_chat": "the original layout, loaded into the native class"}
"""Families that are not in the native form of transformers."""

Value = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Frames:
    """The keyframes of the first segment of a video."""

    height: int
    width: int
    """Both in pixels."""
    seconds: tuple[float, ...]
    """When each is shown."""

    def __str__(self) -> str:
        """As a person says it."""
        return f"{len(self.seconds)} keyframes of {self.width}x{self.height}"


def frames_of(settings: sample.Settings, pixels: str, fps: float) -> Frames:
    """The keyframes that section [sample] takes of a video with such a frame size and rate.

    `pixels` is like "320x240": the width stands first, as sizes of videos are written. Raises
    ConfigError for anything else.
    """
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", pixels)
    if found is None or fps <= 0:
        raise ConfigError(
            f"--size {pixels} --fps {fps:g}: expected width and height in pixels, such as 320x240, "
            "and frames per second"
        )
    places = place_keyframes(settings.segment_frames, settings.keyframes, settings.rule)
    return Frames(int(found[2]), int(found[1]), tuple(place / fps for place in places))


def find_checkpoint(model: str, revision: str, say: Callable[[str], None]) -> Path:
    """The folder of a checkpoint; one that is named by its hub id and not here is downloaded.

    `say` is told before that. Raises ConfigError where there is no such checkpoint.
    """
    try:
        return resolve(model, revision, download=False)
    except ConfigError:
        if not is_hub_id(model):
            raise
        say(f"{model} is not on this machine: downloading it from the hub")
        return resolve(model, revision, download=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Encoded:
    """One prompt about the keyframes of a segment, as a family makes it."""

    text: str
    """Through the chat template."""
    expanded: str
    """With all visual tokens."""
    ids: NDArray[Any]
    """int64 [tokens]."""
    visual: int
    """How many of them are visual."""


def encode(family: Family, prompt: Prompt, frames: Frames) -> Encoded:
    """A prompt as the model gets it, with no weights loaded."""
    import numpy as np

    count = len(frames.seconds)
    blank = [np.zeros((frames.height, frames.width, 3), dtype=np.uint8)] * count
    text = family.text(prompt, count, frames.seconds)
    expanded = family.expand(text, family.resize(blank).shape, frames.seconds)
    ids = family.encode(expanded)
    return Encoded(text, expanded, ids, int(np.isin(ids, family.visual_ids).sum()))


def describe(reference: BackboneReference, folder: Path, frames: Frames) -> Value:
    """What the small files of a checkpoint say, and what a segment costs; no weights are loaded.

    Their bytes are read once, for the identity. Raises ConfigError for an architecture that is not
    supported, and names those that are.
    """
    family = family_of(folder)
    prompt = prompts_of(Settings())[0]
    shown = encode(family, prompt, frames)
    dtype = resolved_dtype(folder, reference.dtype)
    where = (reference.model, reference.revision, reference.dtype, reference.attention)
    value: Value = {
        "model": reference.model,
        "family": family.model_type,
        "layout": LAYOUTS.get(family.model_type, "the native form of transformers"),
        "dtype": dtype,
        "attention": reference.attention,
        "identity": identify(*where, {}),
        "segment": str(frames),
        "question": prompt.question,
        "tokens": len(shown.ids),
        "visual_tokens": shown.visual,
    }
    try:
        shape = shape_of(folder)
    except ConfigError as error:
        return {**value, "shape": None, "estimate": None, "no_estimate": str(error)}
    sizes = {name: getattr(shape, name) for name in SIZES}
    return {**value, "shape": sizes, "estimate": _estimate(shape, dtype, frames, shown)}


SIZES = ("text_type", "layers", "width", "heads", "kv_heads", "head_dim")


def _estimate(shape: ModelShape, dtype: str, frames: Frames, shown: Encoded) -> Value:
    """Tokens, operations and bytes of one segment, by arithmetic."""
    words = len(shown.ids) - shown.visual
    tokens = tokens_of(shape, len(frames.seconds), frames.height, frames.width, words)
    stored = stored_bytes(shape, dtype, shape.layers + 1)
    depths = sorted({max(1, round(part * shape.layers)) for part in DEPTHS} | {shape.layers})
    passes = {depth: cost_of(shape, tokens, depth) for depth in depths}
    whole = passes[shape.layers]
    return {
        "visual_tokens": tokens.visual,
        **_operations(whole),
        "ending_after": [
            {"layer": depth, **_operations(cost), "share": cost.total / whole.total}
            for depth, cost in passes.items()
        ],
        "bytes_per_segment": stored,
        "bytes": {name: stored * segments for name, segments in DATA_SETS.items()},
    }


def _operations(cost: Cost) -> Value:
    return {"flop": cost.total, "vision_flop": cost.vision, "decoder_flop": cost.decoder}


def describe_text(value: Mapping[str, Any]) -> str:
    """The description for a person."""
    shape, estimate = value["shape"], value["estimate"]
    rows = [("backbone", value["model"]), ("family", f"{value['family']}, {value['layout']}")]
    if shape:
        heads = f"{shape['heads']} heads of {shape['head_dim']} ({shape['kv_heads']} for keys and values)"
        wide = f"{shape['layers']} layers of {shape['text_type']}, {shape['width']} wide"
        rows.append(("decoder", f"{wide}, {heads}"))
    rows.append(("segment", f"{value['segment']}: {_tokens(value)}"))
    if estimate is None:
        rows.append(("estimate", f"none: {value['no_estimate']}"))
    else:
        rows += _estimate_rows(value, estimate)
    rows.append(("runs in", f"{value['dtype']}, {value['attention']} attention"))
    rows.append(("identity", value["identity"]))
    return _aligned(rows)


def _tokens(value: Mapping[str, Any]) -> str:
    return f"{value['tokens']} tokens, {value['visual_tokens']} of them visual"


def _estimate_rows(value: Mapping[str, Any], estimate: Mapping[str, Any]) -> list[tuple[str, str]]:
    parts = [f"{part} {operations(estimate[f'{part}_flop'])}" for part in ("vision", "decoder")]
    *early, last = estimate["ending_after"]
    ends = [f"layer {e['layer']}: {operations(e['flop'])} ({e['share']:.0%})" for e in early]
    sets = [
        f"{size(estimate['bytes'][name])} for {name} (about {segments:,} segments)"
        for name, segments in DATA_SETS.items()
    ]
    states = f"{last['layer'] + 1} states in {value['dtype']}"
    return [
        ("one pass", f"{operations(estimate['flop'])}: {', '.join(parts)}"),
        ("ending after", ", ".join(ends)),
        ("to store", f"{size(estimate['bytes_per_segment'])} a segment ({states})"),
        ("data sets", ", ".join(sets)),
    ]


def try_checkpoint(reference: BackboneReference, frames: Frames, value: Value) -> Value:
    """Load the weights of a described checkpoint and run two synthetic segments.

    `problems` are reasons not to use it, `notes` what is worth knowing.
    """
    from stages.backbones.trial import try_out

    backbone = load(reference)
    trial = try_out(
        backbone, prompts_of(Settings())[0], frames.height, frames.width, frames.seconds
    )
    estimate = value["estimate"]
    problems, notes = [], []
    if trial.not_finite:
        problems.append(f"states of layers {_numbers(trial.not_finite)} are not finite")
    if trial.alike:
        problems.append(
            f"two different segments leave the same states in layers {_numbers(trial.alike)}"
        )
    if trial.tokens != value["tokens"]:
        problems.append(f"{trial.tokens} tokens went in where {value['tokens']} were announced")
    if estimate and estimate["visual_tokens"] != value["visual_tokens"]:
        notes.append(
            f"{value['visual_tokens']} visual tokens came out where {estimate['visual_tokens']} "
            "were estimated: the operations above are wrong too; please report this checkpoint"
        )
    if trial.largest > LARGEST_FLOAT16:
        notes.append('the largest state does not fit forward.store_dtype = "float16"')
    return {
        **dataclasses.asdict(trial),
        "layers": backbone.layers,
        "width": backbone.dim,
        "segments_per_second": 1 / trial.seconds,
        "flop_per_second": estimate["flop"] / trial.seconds if estimate else None,
        "problems": problems,
        "notes": notes,
    }


def try_text(trial: Mapping[str, Any]) -> str:
    """The trial for a person."""
    speed = f"{trial['segments_per_second']:.3g} segments/s alone"
    if trial["flop_per_second"]:
        speed += f", {operations(trial['flop_per_second'])}/s"
    pace = f"{trial['seconds']:.3g} s a segment ({speed}); the first {trial['first_seconds']:.3g} s"
    rows = [
        ("tried on", f"{trial['device']}: {trial['tokens']} tokens"),
        ("forward", f"{pace}; prepared in {trial['prepare_seconds']:.3g} s"),
        ("largest state", f"{trial['largest']:.6g}, of layer {trial['largest_layer']}"),
    ]
    if trial["peak_bytes"] is not None:
        rows.append(("GPU memory", f"{size(trial['peak_bytes'])} at most, weights included"))
    if not trial["problems"]:
        layers = trial["layers"]
        rows.append(("states", f"finite, and two segments differ in all {layers} layers"))
    rows += [("note", note) for note in trial["notes"]]
    rows += [("PROBLEM", problem) for problem in trial["problems"]]
    return _aligned(rows)


def prompt_value(config: Config, pixels: str, fps: float) -> Value:
    """Every prompt of a configuration as the model gets it, with no weights loaded.

    `pixels` (such as "320x240") and `fps` are those of the video: some backbones make as many
    tokens of it as its size asks for, and are told the times. Raises ConfigError for a backbone
    that is not on this machine.
    """
    settings = config.sections["backbone"]
    folder = resolve(model_path(config), settings.revision, download=False)
    family = family_of(folder)
    frames = frames_of(config.sections["sample"], pixels, fps)
    found = []
    for prompt in prompts_of(config.sections["forward"]):
        shown = encode(family, prompt, frames)
        found.append(
            {
                "question": prompt.question,
                "system": prompt.system,
                "text": shown.text,
                "expanded": shortened(shown.expanded),
                "tokens": len(shown.ids),
                "visual_tokens": shown.visual,
                "token_ids_sha256": token_digest(shown.ids),
            }
        )
    return {"family": family.model_type, "segment": str(frames), "fps": fps, "prompts": found}


def prompt_text(value: Mapping[str, Any]) -> str:
    """The prompts for a person; texts stand between lines, as they hold line ends."""
    lines = [
        f"{value['family']}, {value['segment']}, {value['fps']:g} frames per second, first segment"
    ]
    for number, prompt in enumerate(value["prompts"]):
        lines += [
            f"\nprompt {number}: {prompt['question']}",
            f"{_tokens(prompt)}; sha256 of the ids {prompt['token_ids_sha256']}",
            "--- through the chat template",
            prompt["text"],
            "--- as the model gets it",
            prompt["expanded"],
            "---",
        ]
    return "\n".join(lines)


def shortened(expanded: str) -> str:
    """A text whose repeated tokens are counted: "<IMG_CONTEXT> x 256"."""
    return re.sub(
        r"(<[^<>\s]+>)\1{2,}",
        lambda run: f"{run[1]} x {len(run[0]) // len(run[1])}",
        expanded,
    )


def _numbers(layers: tuple[int, ...]) -> str:
    some = ", ".join(str(layer) for layer in layers[:8])
    return some if len(layers) <= 8 else f"{some} and {len(layers) - 8} more"


def _aligned(rows: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {text}" for name, text in rows)
