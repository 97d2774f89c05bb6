"""Stage statistics (a data set): what the probing subset says of every layer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cache.digest import write_json
from cache.errors import ConfigError
from cache.fields import at_least, knob, positive, recipe
from cache.ranges import ranges_of
from manifests.schema import LAYERS, SEGMENTS
from stages.contract import Job, Result

if TYPE_CHECKING:
    from stages.probes.moments import Moments
    from stages.probes.spans import Ints
    from stages.probes.states import ProbedStates

VERSION = 4

_Form = tuple[tuple[int, ...], int]
"""Numbers of the layers, and the width, of hidden states."""


@dataclass(frozen=True)
class Settings:
    """How the layers are described."""

    bins: int = recipe(64, "equal bins of the entropy's histograms", check=at_least(2))
    eps: float = recipe(1e-6, "floor of a variance in KL, and what LDR adds", check=positive)
    silhouette_samples: int = recipe(
        2000, "rows the silhouette is computed on; more are sampled", check=at_least(2)
    )
    seed: int = recipe(0, "seed of that sample", check=at_least(0))
    workers: int = knob(2, "threads that read hidden states and count", check=at_least(1))


def compute(job: Job[Settings]) -> Result:
    """Write layers.parquet (KL, LDR, entropy, silhouette per layer) and statistics.json.

    training_rows.parquet beside them says which videos they rest on. Reads "moments", "states" and
    "plan" of every probing video, and the values "labels" {video_id: {"split": "train", "label":
    ..., "intervals": ...}} and "question". Rows are the kept layers, by number. Raises LeakageError
    for a video that is no training video, ConfigError where a class has no sample, or where videos
    come from different backbones.
    """
    import numpy as np

    from stages.probes.divergence import kl_per_layer, ldr_per_layer
    from stages.probes.entropy import entropy_per_layer
    from stages.probes.silhouette import silhouette_per_layer
    from stages.probes.training import require_both_classes, write_training_rows

    settings, begin = job.settings, time.perf_counter()
    moments = _merged(job)
    require_both_classes(moments.normal.n, moments.anomalous.n)
    states, labels = _opened(job, moments)
    _require_same_labels(moments, labels)
    write_training_rows(job.out / "training_rows.parquet", job.values["labels"], labels)
    merged = time.perf_counter()
    layers = moments.layers
    reads = [video.layer for video in states]
    entropy = entropy_per_layer(
        reads,
        layers,
        moments.low,
        moments.high,
        bins=settings.bins,
        workers=settings.workers,
        progress=lambda done, total: job.progress(done, 2 * total),
    )
    counted = time.perf_counter()
    silhouette = silhouette_per_layer(
        reads,
        list(labels.values()),
        layers,
        most=settings.silhouette_samples,
        seed=settings.seed,
        draws=np.zeros((0, len(reads)), dtype=np.int64),
        workers=settings.workers,
        progress=lambda done, total: job.progress(total + done, 2 * total),
    )
    figures = {
        "kl": kl_per_layer(moments, settings.eps),
        "ldr": ldr_per_layer(moments, settings.eps),
        "entropy": entropy,
        "silhouette": silhouette.mean,
    }
    _write(job, moments, figures)
    seconds = {
        "merge": merged - begin,
        "entropy": counted - merged,
        "silhouette": time.perf_counter() - counted,
    }
    return Result(len(layers), seconds=seconds)


def _merged(job: Job[Settings]) -> Moments:
    """The moments of all probing videos; they are read as they are merged."""
    from stages.probes.moments import merge_tree, read_moments

    videos = sorted(job.many["moments"])
    forms: list[_Form] = []

    def leaf(number: int) -> Moments:
        part = read_moments(job.many["moments"][videos[number]].file("moments.safetensors"))
        forms.append((part.layers, part.dim))
        _require_same_form(videos[number], forms[-1], forms[0])
        return part

    return merge_tree(len(videos), leaf)


def _opened(job: Job[Settings], moments: Moments) -> tuple[list[ProbedStates], dict[str, Ints]]:
    """The hidden states of every video, opened, and the labels of its segments by video id."""
    from stages.probes.spans import read_spans, require_rows
    from stages.probes.states import probed_states
    from stages.probes.training import label_of, segment_labels

    opened, labels = [], {}
    for video in sorted(job.many["moments"]):
        states = probed_states(video, job.many["states"][video], job.values["question"])
        form = (moments.layers, moments.dim)
        _require_same_form(video, (states.layers, states.dim), form)
        spans = read_spans(job.many["plan"][video].file("segments.parquet"), SEGMENTS, video)
        require_rows(video, states.segments, spans)
        opened.append(states)
        labels[video] = segment_labels(video, label_of(video, job.values["labels"]), spans)
    return opened, labels


def _require_same_labels(moments: Moments, labels: Mapping[str, Ints]) -> None:
    anomalous = sum(int(part.sum()) for part in labels.values())
    if moments.anomalous.n != anomalous:
        raise ConfigError(
            f"the moments were taken with {moments.anomalous.n} anomalous segments, the labels give "
            f"{anomalous}; run the moments again with the labels of now"
        )


def _require_same_form(video: str, found: _Form, expected: _Form) -> None:
    if found != expected:
        mine, others = (f"layers {ranges_of(layers)} [{dim}]" for layers, dim in (found, expected))
        raise ConfigError(
            f"{video}: hidden states have {mine}, those of other probing videos {others}; compute "
            "all of them with one backbone and the same forward.layers"
        )


def _write(job: Job[Settings], moments: Moments, figures: Mapping[str, Any]) -> None:
    import numpy as np

    from manifests.table import write_table

    layers = moments.layers
    for name, values in figures.items():
        if not np.isfinite(values).all():
            at = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ConfigError(
                f"{name} of layer {layers[at]} is {values[at]}, expected a finite number: the hidden "
                "states are too large for it; check the backbone's dtype"
            )
    columns = {
        "layer": np.asarray(layers),
        "n_normal": np.full(len(layers), moments.normal.n),
        "n_anomalous": np.full(len(layers), moments.anomalous.n),
        **figures,
    }
    write_table(job.out / "layers.parquet", LAYERS, columns)
    settings = job.settings
    record = {
        "bins": settings.bins,
        "eps": settings.eps,
        "n_normal": moments.normal.n,
        "n_anomalous": moments.anomalous.n,
        "dim": moments.dim,
        "layers": len(layers),
        "videos": len(job.many["moments"]),
        "silhouette_samples": settings.silhouette_samples,
        "seed": settings.seed,
    }
    write_json(job.out / "statistics.json", record)
