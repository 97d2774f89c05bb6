"""What the forward passes of a plan will cost, before they run: pure arithmetic over a plan.

Operations and bytes follow from the shape of the backbone (stages/backbones/cost.py) and from the
segments of the videos that are to be passed. What is not known yet is supposed, and said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cache.catalog import StageCatalog
from pipeline.plan import StagePlan
from pipeline.progress import size
from pipeline.values import question_of, unit_of
from pipeline.world import World
from stages.backbones.cost import cost_of, stored_bytes, tokens_of
from stages.backbones.pass_settings import require_there
from stages.backbones.shape import ModelShape
from stages.probes.choice import LAST, choice_of
from stages.probes.selection import Fixed, chooses, strategy_of

PASSES = ("forward", "forward_selected")
SUPPOSED_SIZE = (240, 320)
"""Height and width of the frames where no video is decoded: those of UCF-Crime."""
SUPPOSED_DEPTH = 5 / 8
"""Where the layer is supposed while it is not chosen: 20 of 32, about where HiProbe-VAD found it."""
CHARACTERS = 4
"""Characters of English that make a token, about."""
TEMPLATE = 20
"""Tokens of a chat template around one turn, about."""
AROUND = 8
"""Tokens that a backbone writes beside one picture, about: "Frame1: <img>...", "<0.3 seconds>"."""

Plans = Mapping[str, StagePlan]


@dataclass(frozen=True, slots=True)
class Basis:
    """What has to be known of a run beside its plan."""

    shape: ModelShape
    dtype: str
    """Number format that the backbone runs in."""
    frames: Mapping[tuple[int, int], int]
    """How many videos that were looked at have frames of this height and width in pixels."""
    choice: Mapping[str, Any] | None = None
    """What `choice_of` takes, where stage select has chosen."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a pass keeps of each segment."""

    depth: int
    """Decoder layers that it runs through."""
    states: int
    heads: int
    prompts: tuple[str, ...]
    what: str
    """In words."""


def forward_estimate(world: World, plans: Plans, basis: Basis) -> dict[str, Any] | None:
    """What the work of the forward stages will cost; None where they have none.

    Raises ConfigError for a layer or head that the backbone does not have.
    """
    if world.videos is None or not any(plans[stage].work for stage in PASSES):
        return None
    single = _single(world, basis.shape)
    first, second = (plans[stage] for stage in PASSES)
    passes = []
    if first.work:
        passes.append(_pass(first, world, plans, basis, [single]))
    if second.work:
        entry = _pass(second, world, plans, basis, _selected(world, basis))
        (whole,) = _pass(second, world, plans, basis, [single])["cases"]
        for case in entry["cases"]:
            case["saving"] = _saving(whole, case)
        passes.append(entry)
    chosen = all(len(each["cases"]) == 1 for each in passes)
    return {"supposed": _supposed(world, basis, chosen), "passes": passes}


def _single(world: World, shape: ModelShape) -> Kept:
    """What section [forward] keeps of the videos of the first pass: of all, where there is one."""
    settings = world.config.sections["forward"]
    layers = _layers(world, shape)
    heads = settings.heads
    pairs = () if isinstance(heads, str) else heads
    require_there(layers, pairs, depth=shape.layers, width=shape.heads)
    whole = heads == "all" or settings.yes_no
    depth = shape.layers if whole else max([*layers, *(layer + 1 for layer, _ in pairs)])
    count = shape.layers * shape.heads if heads == "all" else len(pairs)
    words = "all layers" if settings.layers == "all" else _counted(len(layers), "layer")
    words += f" and {_counted(count, 'head')}" if count else ""
    return Kept(depth, len(layers), count, settings.prompts, words)


def _layers(world: World, shape: ModelShape) -> tuple[int, ...]:
    """The hidden states that are kept of the first pass."""
    layers = world.config.sections["forward"].layers
    if isinstance(layers, str):
        return tuple(range(shape.layers + 1))
    found: tuple[int, ...] = layers
    return found


def _selected(world: World, basis: Basis) -> list[Kept]:
    """What the second pass keeps: one case, or three while nothing is chosen (supposed one first)."""
    sections = world.config.sections
    prompt = (question_of(world),)
    choice = choice_of(basis.choice) if basis.choice else None
    if choice and choice.heads:
        deepest = max(layer for layer, _ in choice.heads) + 1
        states = 0 if choice.context is None else 1
        words = _counted(len(choice.heads), "head") + f" and layer {choice.context}" * states
        depth = max(deepest, choice.context or 0)
        return [Kept(depth, states, len(choice.heads), prompt, words)]
    if choice is None and chooses(sections["select"].method) == "heads":
        return _some_heads(world, basis.shape, prompt)
    layers = _layers(world, basis.shape)
    if choice and choice.layer is not None:
        chosen = [choice.layer]
    elif isinstance(strategy := strategy_of(sections["select"].method), Fixed):
        chosen = [strategy.choose(layers, {}).layer]
    else:
        chosen = _supposed_depths([layer for layer in layers if layer] or layers, basis.shape)
    return [Kept(layer, 1, 0, prompt, f"layer {layer}") for layer in chosen]


def _some_heads(world: World, shape: ModelShape, prompt: tuple[str, ...]) -> list[Kept]:
    """What is kept where heads are to be chosen: so many, of which the last is in some layer."""
    kept, top = (world.config.sections[s] for s in ("forward", "select"))
    whole = isinstance(kept.heads, str)
    layers = range(shape.layers) if whole else sorted({layer for layer, _ in kept.heads})
    depths = _supposed_depths([layer + 1 for layer in layers], shape)
    heads = _counted(top.heads_top, "head")
    if not top.context:
        return [
            Kept(depth, 0, top.heads_top, prompt, f"{heads} up to layer {depth - 1}")
            for depth in depths
        ]
    context = shape.layers if top.context == LAST else int(top.context)
    cases = (
        Kept(max(depth, context), 1, top.heads_top, prompt, f"{heads} and layer {context}")
        for depth in depths
    )
    return list(dict.fromkeys(cases))  # one where no head lies behind the context


def _supposed_depths(able: Sequence[int], shape: ModelShape) -> list[int]:
    """Of the numbers that a choice may have: the supposed one, the least, the most."""
    wanted = SUPPOSED_DEPTH * shape.layers
    return [min(able, key=lambda layer: abs(layer - wanted)), able[0], able[-1]]


def _pass(
    plan: StagePlan, world: World, plans: Plans, basis: Basis, cases: list[Kept]
) -> dict[str, Any]:
    """One stage: its videos, what is known of their segments, and the cost of each case."""
    items = [*plan.todo, *plan.waiting]
    known = segments_of(items, world, plans)
    segments = sum(known.values())
    return {
        "stage": plan.node.name,
        "videos": len(items),
        "videos_unknown": len(items) - len(known),
        "segments": segments,
        "cases": [_figures(segments, world, basis, kept) for kept in cases],
    }


def _saving(whole: Mapping[str, Any], case: Mapping[str, Any]) -> dict[str, Any]:
    """What a case of the second pass costs less than what section [forward] says for the first."""
    found: dict[str, Any] = {}
    for name in ("flop", "bytes"):
        each, all_of = f"{name}_per_segment", whole[f"{name}_per_segment"]
        found |= {name: whole[name] - case[name], f"{name}_share": 1 - case[each] / all_of}
    return found


def segments_of(items: Sequence[str], world: World, plans: Plans) -> dict[str, int]:
    """Segments by item, of the videos for which they are known."""
    whole = {v.video_id for v in world.videos or () if unit_of(world, v) == "video"}
    found = {item: 1 if item in whole else _segments(item, world, plans) for item in items}
    return {item: count for item, count in found.items() if count is not None}


def _segments(item: str, world: World, plans: Plans) -> int | None:
    """Segments of a video: from its plan of keyframes, or from its frames; None if not known."""
    for stage, per_segment in (("sample", 1), ("decode", _segment_frames(world))):
        plan = plans[stage]
        if item in plan.digests:
            catalog = world.committed.get(stage) or StageCatalog()
            return -(-catalog.sizes[plan.keys[item]][0] // per_segment)
    return None


def _segment_frames(world: World) -> int:
    return int(world.config.sections["sample"].segment_frames)


def _figures(segments: int, world: World, basis: Basis, kept: Kept) -> dict[str, Any]:
    """What so many segments cost; of one, the mean over the sizes of frames that were seen."""
    sections = world.config.sections
    frames = basis.frames or {SUPPOSED_SIZE: 1}
    keyframes = sections["sample"].keyframes
    prompt = max(prompt_tokens(world, basis.shape, text) for text in kept.prompts)
    suffix = max(_tokens(text) for text in kept.prompts) + TEMPLATE // 2
    tokens = vision = total = 0
    for (height, width), videos in frames.items():
        made = tokens_of(basis.shape, keyframes, height, width, prompt)
        cost = cost_of(basis.shape, made, kept.depth, len(kept.prompts), suffix)
        tokens += videos * made.total
        vision += videos * cost.vision
        total += videos * cost.total
    seen = sum(frames.values())
    dtype = sections["forward"].store_dtype
    stored = stored_bytes(
        basis.shape,
        basis.dtype if dtype == "model" else dtype,
        kept.states,
        kept.heads,
        len(kept.prompts),
    )
    return {
        "kept": kept.what,
        "layer": kept.depth,
        "prompts": len(kept.prompts),
        "tokens_per_segment": round(tokens / seen),
        "flop_per_segment": total // seen,
        "vision_flop_per_segment": vision // seen,
        "bytes_per_segment": stored,
        "flop": segments * total // seen,
        "bytes": segments * stored,
    }


def prompt_tokens(world: World, shape: ModelShape, question: str) -> int:
    """Tokens of a prompt that are not visual, about: no tokenizer is loaded for a plan."""
    sections = world.config.sections
    settings = sections["forward"]
    keyframes: int = sections["sample"].keyframes
    if shape.vision.pixels_of_all:
        around = AROUND * -(-keyframes // shape.vision.temporal)
    elif shape.vision.class_token:
        around = keyframes * (_tokens(settings.frame_format) or AROUND)
    else:
        around = AROUND
    return TEMPLATE + around + _tokens(settings.system) + _tokens(question)


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS)


def _supposed(world: World, basis: Basis, chosen: bool) -> list[str]:
    """What the figures rest on that was not looked at."""
    settings = world.config.sections["forward"]
    words = max(prompt_tokens(world, basis.shape, text) for text in settings.prompts)
    found = [f"about {words} tokens of text in a prompt"]
    if not chosen:
        found.append("until one is chosen, the layer at 5/8 of the depth (20 of 32 in the paper)")
    if basis.shape.vision.image is None:
        if basis.frames:
            seen = ", ".join(f"{width}x{height}" for height, width in sorted(basis.frames))
            found.append(f"frames of {seen}, as in {_counted(sum(basis.frames.values()), 'video')}")
        else:
            height, width = SUPPOSED_SIZE
            found.append(f"frames of {width}x{height}: no video is decoded yet")
    return found


HEAD = (
    "pass",
    "segments",
    "kept",
    "of one segment",
    "bytes",
    "in all",
    "bytes",
    "saves against one pass",
)


def estimate_rows(value: Mapping[str, Any]) -> list[list[str]]:
    """The estimate as rows under HEAD, one per case."""
    rows = []
    for each in value["passes"]:
        for number, case in enumerate(each["cases"]):
            name, amount = ("", "") if number else (each["stage"], _amount(each))
            rows.append([name, amount, _kept(each, number), *_cells(each["segments"], case)])
    return rows


def _amount(each: Mapping[str, Any]) -> str:
    unknown, videos = each["videos_unknown"], each["videos"]
    if unknown == videos:
        return f"unknown, of {_counted(videos, 'video')}"
    more = f" ({unknown:,} more unknown)" if unknown else ""
    return f"{each['segments']:,} of {_counted(videos - unknown, 'video')}{more}"


def _kept(each: Mapping[str, Any], number: int) -> str:
    """What a case keeps; of several cases the first is supposed, and the others are its limits."""
    what = str(each["cases"][number]["kept"])
    if len(each["cases"]) == 1:
        return what
    return what + (" (supposed)", " (least)", " (most)")[number]


def _cells(segments: int, case: Mapping[str, Any]) -> list[str]:
    one = f"{operations(case['flop_per_segment'])}, vision"
    one += f" {operations(case['vision_flop_per_segment'])}"
    cells = [one, size(case["bytes_per_segment"])]
    cells += [operations(case["flop"]), size(case["bytes"])] if segments else ["?", "?"]
    saving = case.get("saving")
    if saving is None:
        return [*cells, ""]
    parts = [
        f"{saving['flop_share']:.0%} of operations, {saving['bytes_share']:.0%} of bytes",
        f"{operations(saving['flop'])}, {size(saving['bytes'])}",
    ]
    return [*cells, ": ".join(parts if segments else parts[:1])]


def operations(count: float) -> str:
    """Floating point operations as a person writes them, in three figures: 36.7 TFLOP."""
    for unit in ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} EFLOP"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
