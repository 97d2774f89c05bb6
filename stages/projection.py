"""Stage projection (a data set): pictures of the probing rows in the plane, for people to look at."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cache.ahead import ahead
from cache.digest import read_json, write_json
from cache.errors import ConfigError
from cache.fields import at_least, between, recipe
from manifests.schema import PROJECTIONS
from stages.contract import Job, Result

if TYPE_CHECKING:
    from stages.probes.choice import Choice
    from stages.probes.projection import Components, Projection
    from stages.probes.spans import Floats, Ints

VERSION = 1
METHODS = ("pca", "tsne")


def _known(value: Any) -> str | None:
    if set(value) <= set(METHODS) and len(set(value)) == len(value):
        return None
    return f"must be a list of some of {', '.join(METHODS)}, each once"


@dataclass(frozen=True)
class Settings:
    """How the probing rows are drawn."""

    methods: tuple[str, ...] = recipe(METHODS, "pca, tsne, or none of them: []", check=_known)
    samples: int = recipe(500, "rows that are drawn; more are sampled by class", check=at_least(2))
    perplexity: float = recipe(
        30.0, "neighbours that t-SNE looks at, roughly", check=between(1, 1000)
    )
    iterations: int = recipe(500, "steps of t-SNE", check=at_least(250))
    seed: int = recipe(0, "seed of the sample and of t-SNE", check=at_least(0))


def compute(job: Job[Settings]) -> Result:
    """Write projections.parquet (a point per row, picture and method) and projection.json.

    Pictures are of the lowest kept layer, the chosen one and the last (HiProbe-VAD, arXiv 2507.17394,
    shows layers 0, l* and L), or of the rows of the chosen heads, on the same sample. Reads "choice",
    "states" and "plan" of every probing video, and the values "labels" and "question". Raises
    LeakageError for a video that is no training video, ConfigError where a class has no sample or
    the choice does not fit the hidden states.
    """
    from manifests.table import write_table
    from stages.probes.choice import choice_of
    from stages.probes.probing import probing_labels
    from stages.probes.projection import components_of
    from stages.probes.silhouette import stratified_rows

    settings, begin = job.settings, time.perf_counter()
    choice = choice_of(read_json(job.inputs["choice"].file("choice.json")))
    plans = {video: job.many["plan"][video] for video in job.many["states"]}
    rows = _Rows.of(probing_labels(plans, job.values["labels"]), stratified_rows, settings)
    columns: dict[str, list[Any]] = {name: [] for name in PROJECTIONS.names}
    pictures, notes = [], []
    wanted = _wanted(job, choice) if settings.methods else {}
    for number, (what, of) in enumerate(wanted.items()):
        components = components_of(_read(job, of, rows))
        for method in settings.methods:
            found = _project(method, components, settings)
            if found.points is not None:
                _add(columns, what, method, rows, found.points)
            pictures.append({"what": what, "method": method, **found.record})
            if found.note:
                notes.append(f"{what}: {found.note}")
        job.progress(number + 1, len(wanted))
    write_table(job.out / "projections.parquet", PROJECTIONS, columns)
    record = {
        "samples": len(rows.label),
        "rows": rows.total,
        "seed": settings.seed,
        "chosen": choice.record(),
        "pictures": pictures,
        "notes": notes,
    }
    write_json(job.out / "projection.json", record)
    return Result(len(columns["x"]), seconds={"compute": time.perf_counter() - begin})


@dataclass(frozen=True, eq=False)
class _Rows:
    """The sampled rows, video after video in order of their ids."""

    total: int
    """Of how many they are a sample."""
    label: Ints
    segments: dict[str, Ints]
    """Numbers of the sampled segments by video id, for videos that have any."""
    lengths: dict[str, Ints]
    """Labels of all segments by video id."""

    @classmethod
    def of(cls, labels: dict[str, Ints], sampled: Any, settings: Settings) -> _Rows:
        import numpy as np

        together = np.concatenate(list(labels.values()))
        kept = sampled(together, settings.samples, settings.seed)
        segments, first = {}, 0
        for video, own in labels.items():
            inside = kept[(kept >= first) & (kept < first + len(own))] - first
            if len(inside):
                segments[video] = inside
            first += len(own)
        return cls(len(together), together[kept], segments, labels)


def _wanted(job: Job[Settings], choice: Choice) -> dict[str, Choice]:
    """What is drawn, by name."""
    from stages.probes.choice import Choice as Rows
    from stages.probes.states import probed_states

    if choice.heads:
        return {"heads": Rows(heads=choice.heads)}
    video = min(job.many["states"])
    kept = probed_states(video, job.many["states"][video], job.values["question"]).layers
    layers = sorted({kept[0], choice.layer or 0, kept[-1]})
    return {f"layer {layer}": Rows(layer=layer) for layer in layers}


def _read(job: Job[Settings], of: Choice, rows: _Rows) -> Floats:
    """The sampled rows of a layer or of heads, float64 [samples, dim]."""
    import numpy as np

    from stages.probes.samples import probed_rows
    from stages.probes.spans import require_rows

    parts: list[Any] = []

    def read(video: str) -> Any:
        found = probed_rows(video, job.many["states"][video], job.values["question"], of)
        require_rows(video, len(found), rows.lengths[video])
        return found[rows.segments[video]]

    # Two: of a long video many more rows are read than are kept.
    for video, found in zip(rows.segments, ahead(read, rows.segments, 2), strict=True):
        if parts and found.shape[1] != parts[0].shape[1]:
            raise ConfigError(
                f"{video}: hidden states have {found.shape[1]} numbers, those of other probing "
                f"videos {parts[0].shape[1]}; use one backbone for all"
            )
        parts.append(found)
    return np.concatenate(parts).astype(np.float64)


def _project(method: str, components: Components, settings: Settings) -> Projection:
    from stages.probes.projection import neighbours, principal

    if method == "pca":
        return principal(components)
    return neighbours(
        components,
        perplexity=settings.perplexity,
        iterations=settings.iterations,
        seed=settings.seed,
    )


def _add(
    columns: dict[str, list[Any]], what: str, method: str, rows: _Rows, points: Floats
) -> None:
    """Add the points of one picture to the columns of the table."""
    count = len(rows.label)
    columns["what"] += [what] * count
    columns["method"] += [method] * count
    for video, segments in rows.segments.items():
        columns["video_id"] += [video] * len(segments)
        columns["segment"] += segments.tolist()
    columns["label"] += rows.label.tolist()
    columns["x"] += points[:, 0].tolist()
    columns["y"] += points[:, 1].tolist()
