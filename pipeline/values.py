"""The small JSON values that enter keys: labels, truth, what features are, what a report says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cache.errors import ConfigError
from pipeline.graph import GRAPH, NODES, Node, Scope
from pipeline.world import Video, World
from stages.probes.selection import Compared, chooses, compared_by

if TYPE_CHECKING:
    from pipeline.plan import StagePlan


def videos_of(world: World, scope: Scope) -> tuple[Video, ...]:
    """The videos of a scope, sorted by id."""
    videos = world.videos or ()
    if scope in ("first", "second") and two_passes(world):
        return _of_pass(world, scope)
    if scope == "second":
        return ()
    if scope == "probing":
        return tuple(v for v in videos if v.subset == "probing")
    if scope == "test":
        return tuple(v for v in videos if v.split == "test" and v.label is not None)
    if scope == "target":
        return tuple(v for v in videos if v.split != "train")
    if world.config.run.videos == "needed":
        return tuple(v for v in videos if v.split != "train" or v.subset == "probing")
    return videos


def two_passes(world: World) -> bool:
    """Whether all layers are kept of the probing subset only, and the chosen one of the rest."""
    return bool(world.config.sections["forward"].test_layers == "selected")


def selected(world: World) -> str:
    """What the scorer is to be fitted on: "layer", or "heads"."""
    return chooses(world.config.sections["select"].method)


def compared(world: World) -> frozenset[Compared]:
    """What is compared before that choice."""
    return compared_by(world.config.sections["select"].method)


def recipe_of_node(node: Node, world: World) -> dict[str, Any]:
    """The recipe fields that enter the keys of a stage."""
    config = world.config
    if node.section not in config.sections:
        return {}
    return config.recipe(node.section, node.without(config.sections[node.section]))


def _of_pass(world: World, scope: Scope) -> tuple[Video, ...]:
    """The videos of the first pass, which are what is selected from, or those of the second.

    An outside scorer brings the choice: nothing is left to be selected, and no first pass needed.
    What the store holds plays no part: which pass a video is in, and with it every key after, would
    change as a shared store is filled, evicted or moved.
    """
    first = world.scorer is None
    return tuple(
        v
        for v in videos_of(world, "all")
        if (first and v.subset == "probing") == (scope == "first")
    )


OWN = ("label", "unit")
"""Values that a stage whose item is a video gets for each video by itself."""


def own_value(name: str, world: World, video: Video) -> Any:
    """The value of this name for one video; `name` is one of `OWN`."""
    return label_of(world, video) if name == "label" else unit_of(world, video)


def unit_of(world: World, video: Video) -> str:
    """How a video is cut: "segment", or "video" where it is one sample (METHOD section 1)."""
    unit: str = world.config.sections["sample"].unit
    return unit if video.subset == "probing" else "segment"


def label_of(world: World, video: Video) -> dict[str, Any]:
    """What the statistics and the fit take as the truth about one probing video."""
    frames = world.config.sections["data"].probing_labels == "frame"
    spans = [list(span) for span in video.annotations] if frames else None
    return {"split": video.split, "label": video.label, "intervals": spans}


def features_of(world: World) -> dict[str, Any]:
    """What the hidden states are: a scorer refuses features that differ in any of this.

    Which layers and heads were kept beside those that the scorer reads, which other prompts shared
    the pass, and whether it ended early changes them by rounding at most (1e-5 in float32; in
    bfloat16 on a GPU what a batch of another size does too): a scorer that was fitted in either mode
    of forward.test_layers can be used in the other. So this holds the probed prompt, and of section
    [forward] what enters the key of the second pass. Nor is sample.unit in it: a scorer that was
    fitted on whole videos is there to score segments.
    """
    forward = recipe_of_node(NODES["forward_selected"], world)
    return {
        "backbone": world.backbone,
        "forward": {
            "version": world.versions["forward"],
            "question": question_of(world),
            **forward,
        },
        "sample": {
            "version": world.versions["sample"],
            **recipe_of_node(NODES["sample"], world),
        },
    }


def question_of(world: World) -> str:
    """The one of forward.prompts that is probed."""
    sections = world.config.sections
    question: str = sections["forward"].prompts[sections["select"].prompt]
    return question


def value_of(name: str, world: World, upstream: Mapping[str, StagePlan]) -> Any:
    """The value of this name for a data set stage."""
    if name == "listing":
        return world.listing
    if name == "labels":
        return {v.video_id: label_of(world, v) for v in videos_of(world, "probing")}
    if name == "features":
        return features_of(world)
    if name in ("sources", "tested"):
        videos = videos_of(world, "probing" if name == "sources" else "test")
        return {v.video_id: v.digest for v in videos}
    if name == "question":
        return question_of(world)
    if name == "unit":
        return world.config.sections["sample"].unit
    if name == "truth":
        done = upstream["localize"].digests
        return {
            v.video_id: {
                "label": v.label,
                "class": v.class_name,
                "intervals": [list(span) for span in v.annotations],
                "listed_frames": world.listed_frames.get(v.video_id),
            }
            for v in videos_of(world, "test")
            if v.video_id in done
        }
    if name == "absent":
        return {split: list(world.absent.get(split, ())) for split in ("train", "test")}
    if name == "missing":
        lost = {*upstream["localize"].failed, *upstream["localize"].blocked}
        return sorted({v.video_id for v in videos_of(world, "test")} & lost)
    if name == "videos":
        return [_shown(v) for v in videos_of(world, "all")]
    if name == "run":
        return _run(world, upstream)
    raise ConfigError(f"no value is called {name}")


LARGE = ("absent", "labels", "listing", "run", "sources", "tested", "truth", "videos")
"""Values with a row per video: they enter a key by their digest."""


def check_features(world: World) -> None:
    """Refuse an outside scorer whose features are not those of this configuration.

    Raises ConfigError that names every field that differs, with both values.
    """
    from cache.keys import differences

    if world.scorer is None or not world.backbone:
        return
    found = differences(dict(world.scorer.features), features_of(world))
    if found:
        lines = [f"  {path}: scorer {old!r}, this run {new!r}" for path, old, new in found]
        raise ConfigError(
            "run.scorer was fitted on other features than this run makes:\n" + "\n".join(lines)
        )


def _shown(video: Video) -> dict[str, Any]:
    return {
        "video_id": video.video_id,
        "split": video.split,
        "label": video.label,
        "class": video.class_name,
        "subset": video.subset,
        "intervals": [list(span) for span in video.annotations],
    }


def _run(world: World, upstream: Mapping[str, StagePlan]) -> dict[str, Any]:
    config = world.config
    failed = [
        {
            "video_id": item,
            "stage": stage,
            "error_class": failure.error_class,
            "message": failure.message,
        }
        for stage in (node.name for node in GRAPH)
        if stage in upstream
        for item, failure in sorted(upstream[stage].failed.items())
    ]
    return {
        "name": config.run.name,
        "labels": config.sections["data"].probing_labels,
        "unit": config.sections["sample"].unit,
        "sections": {
            n.name: recipe_of_node(n, world)
            for n in NODES.values()
            if n.section
            and (n.over != "second" or two_passes(world))
            and (n.compares is None or n.compares in compared(world))
        },
        # Its table of layers is no part of its content digest, and the page shows it.
        "select_version": world.versions["select"],
        "backbone": {
            "model": config.sections["backbone"].model.rstrip("/").rsplit("/", 1)[-1],
            "identity": world.backbone,
            "dtype": config.sections["backbone"].dtype,
            "attention": config.sections["backbone"].attention,
        },
        "failed": failed,
    }
