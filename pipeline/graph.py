"""The graph of stages, as data: what reads what. This is the only place that says so.

To add a stage: write stages/<name>.py (see stages/contract.py), add its node below at a place after
everything that it reads, and its Settings to pipeline/config.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from stages.probes.fit_settings import of_other_kinds
from stages.probes.localization_settings import OF_INTERVALS, OF_THRESHOLD, of_other_rules
from stages.probes.selection import Compared, chooses
from stages.probes.statistics_settings import OF_STATISTICS

Scope = Literal["all", "first", "probing", "second", "target", "test"]
"""Which videos: all in use, those of the first pass and of the second (pipeline/values.py says which
these are), the probing subset, all that are not train, or the labelled test split."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One input of a stage: the artifact of another stage, under the role that the reader names.

    Two edges of one role are alternatives: of stages that run over different videos, where each
    item takes the artifact of the stage that it belongs to, or of stages that are never part of one
    run together.
    """

    role: str
    stage: str
    over: Scope | None = None
    """None: one artifact (of the same video, or the data set's). A scope: one per video of it."""
    optional: bool = False
    """The reader also works where the whole stage is not part of the run."""
    outside: bool = False
    """The folder of an outside scorer takes the place of the artifact where one is given."""


@dataclass(frozen=True, slots=True)
class Node:
    """One stage of the graph."""

    name: str
    item: Literal["video", "dataset"]
    over: Scope = "all"
    """For stages whose item is a video: which videos."""
    edges: tuple[Edge, ...] = ()
    values: tuple[str, ...] = ()
    """Names of the JSON values that enter the key (pipeline/values.py makes them)."""
    backbone: bool = False
    """Whether the stage runs the model: its identity enters the key."""
    source: Callable[[Any], bool] = lambda settings: False
    """Whether the stage reads the video file: its digest enters the key."""
    section: str = ""
    """Section of the configuration; empty for a stage without settings of its own."""
    without: Callable[[Any], tuple[str, ...]] = lambda settings: ()
    """Recipe fields of the section that change nothing in this stage: they stay out of its key."""
    overlap: int = 1
    """Items that one process makes at once, in threads: more than one where an item spends its time
    waiting for files. (Stages that run the model have run.in_flight for that.)"""
    whole: bool = False
    """Whether the stage reads more of the hidden states than what was chosen."""
    compares: Compared | None = None
    """The stage is part of the run only where select.method compares this."""

    @property
    def module(self) -> str:
        """The module that computes it."""
        return f"stages.{self.name}"


def _always(settings: Any) -> bool:
    return True


def _where_pixels_are_stored(settings: Any) -> bool:
    return bool(settings.pixels != "none")


def _of_the_first_pass(settings: Any) -> tuple[str, ...]:
    """Other prompts, layers and heads of the first pass are no reason to make the second again."""
    return ("prompts", "layers", "heads", "yes_no")


def _of_the_probing_videos(settings: Any) -> tuple[str, ...]:
    """The value of the same name says it video by video: the plans of all others are shared."""
    return ("unit",)


def _of_statistics(settings: Any) -> tuple[str, ...]:
    """What only the stage statistics reads."""
    return OF_STATISTICS


def _of_the_threshold(settings: Any) -> tuple[str, ...]:
    """What only the stage threshold reads."""
    return OF_THRESHOLD


def _of_the_intervals(settings: Any) -> tuple[str, ...]:
    """What only the stage localize reads, and what the rule of the threshold does not look at."""
    return (*OF_INTERVALS, *of_other_rules(settings.threshold))


def _of_other_methods(settings: Any) -> tuple[str, ...]:
    """What select.method does not look at."""
    if chooses(settings.method) == "layer":
        return ("heads_top", "heads_lambda", "context", "seed")
    return () if settings.method == "random" else ("seed",)


def _of_other_scorers(settings: Any) -> tuple[str, ...]:
    """What fit.scorer does not read."""
    return of_other_kinds(settings.scorer)


GRAPH: tuple[Node, ...] = (
    Node("index", "dataset", values=("listing",), section="data"),
    Node("decode", "video", source=_always, section="decode"),
    Node(
        "sample",
        "video",
        edges=(Edge("timeline", "decode"),),
        values=("unit",),
        source=_where_pixels_are_stored,
        section="sample",
        without=_of_the_probing_videos,
    ),
    Node(
        "forward",
        "video",
        over="first",
        edges=(Edge("plan", "sample"),),
        source=_always,
        backbone=True,
        section="forward",
    ),
    Node(
        "moments",
        "video",
        over="probing",
        edges=(Edge("states", "forward"), Edge("plan", "sample")),
        values=("label", "question"),
        section="statistics",
        without=_of_statistics,
        whole=True,
        compares="layer",
    ),
    Node(
        "statistics",
        "dataset",
        edges=(
            Edge("moments", "moments", "probing"),
            Edge("states", "forward", "probing"),
            Edge("plan", "sample", "probing"),
        ),
        values=("labels", "question"),
        section="statistics",
        whole=True,
        compares="layer",
    ),
    Node(
        "heads",
        "dataset",
        edges=(Edge("states", "forward", "probing"), Edge("plan", "sample", "probing")),
        values=("labels",),
        section="heads",
        whole=True,
        compares="heads",
    ),
    Node(
        "crossvalidate",
        "dataset",
        edges=(Edge("states", "forward", "probing"), Edge("plan", "sample", "probing")),
        values=("labels", "question"),
        section="crossvalidate",
        whole=True,
        compares="cv",
    ),
    Node(
        "select",
        "dataset",
        edges=(
            Edge("table", "statistics"),
            Edge("table", "heads"),
            Edge("folds", "crossvalidate", optional=True),
        ),
        values=("labels",),
        section="select",
        without=_of_other_methods,
    ),
    Node(
        "fit",
        "dataset",
        edges=(
            Edge("choice", "select"),
            Edge("states", "forward", "probing"),
            Edge("plan", "sample", "probing"),
        ),
        values=("features", "labels", "question", "sources", "unit"),
        section="fit",
        without=_of_other_scorers,
    ),
    # After the fit: what could still go wrong with the probing subset has been seen before the long
    # pass over everything else begins.
    Node(
        "forward_selected",
        "video",
        over="second",
        edges=(Edge("plan", "sample"), Edge("choice", "select", outside=True)),
        values=("question",),
        source=_always,
        backbone=True,
        section="forward",
        without=_of_the_first_pass,
    ),
    Node(
        "score",
        "video",
        edges=(
            Edge("states", "forward"),
            Edge("states", "forward_selected"),
            Edge("plan", "sample"),
            Edge("scorer", "fit", outside=True),
        ),
        values=("features", "question"),
        overlap=4,
    ),
    Node(
        "threshold",
        "dataset",
        edges=(Edge("scorer", "fit", outside=True),),
        section="localize",
        without=_of_the_intervals,
    ),
    Node(
        "localize",
        "video",
        edges=(Edge("scores", "score"), Edge("threshold", "threshold")),
        section="localize",
        without=_of_the_threshold,
    ),
    # Before the explanations, which it does not need: figures are there when the long pass of words
    # begins, and `--until evaluate` gives them without it.
    Node(
        "evaluate",
        "dataset",
        edges=(Edge("intervals", "localize", "test"), Edge("scorer", "fit", outside=True)),
        values=("absent", "missing", "tested", "truth"),
        section="evaluate",
    ),
    Node(
        "explain",
        "video",
        over="target",
        edges=(Edge("intervals", "localize"), Edge("timeline", "decode")),
        source=_always,
        backbone=True,
        section="explain",
    ),
    # Nothing but the report reads these pictures: `--until evaluate` goes without them.
    Node(
        "projection",
        "dataset",
        edges=(
            Edge("choice", "select"),
            Edge("states", "forward", "probing"),
            Edge("plan", "sample", "probing"),
        ),
        values=("labels", "question"),
        section="projection",
        whole=True,
    ),
    Node(
        "report",
        "dataset",
        edges=(
            Edge("choice", "select", optional=True),
            Edge("explanations", "explain", "target"),
            Edge("intervals", "localize", "all"),
            Edge("metrics", "evaluate", optional=True),
            Edge("pictures", "projection", optional=True),
            Edge("scorer", "fit", outside=True),
            Edge("table", "statistics", optional=True),
            Edge("table", "heads", optional=True),
            Edge("threshold", "threshold"),
            Edge("timeline", "decode", "all"),
        ),
        values=("run", "videos"),
        section="report",
    ),
)

NODES: dict[str, Node] = {node.name: node for node in GRAPH}

FITTING = ("moments", "statistics", "heads", "crossvalidate", "select", "fit", "projection")
"""The stages that a run with an outside scorer does not need."""
