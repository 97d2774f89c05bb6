"""Stage statistics (a data set): what the probing subset says of every layer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cache.digest import write_json
from cache.errors import ConfigError
from cache.fields import at_least, knob, positive, recipe
from manifests.schema import LAYERS, SEGMENTS
from stages.contract import Job, Result

if TYPE_CHECKING:
    from cache.arrays import States
    from stages.probes.moments import Moments
    from stages.probes.spans import Ints

VERSION = 1


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

    Reads "moments", "states" and "plan" of every probing video, and the value "labels" {video_id:
    {"label": ..., "intervals": ...}}. Raises ConfigError where a class has no sample, or where
    videos come from different backbones.
    """
    from stages.probes.divergence import kl_per_layer, ldr_per_layer
    from stages.probes.entropy import entropy_per_layer
    from stages.probes.silhouette import silhouette_per_layer
    from stages.probes.spans import require_both_classes

    settings, begin = job.settings, time.perf_counter()
    moments = _merged(job)
    require_both_classes(moments.normal.n, moments.anomalous.n)
    states, labels = _opened(job, moments.shape)
    _require_same_labels(moments, labels)
    merged = time.perf_counter()
    layers, _ = moments.shape
    reads = [video.layer for video in states]
    entropy = entropy_per_layer(
        reads,
        moments.low,
        moments.high,
        bins=settings.bins,
        workers=settings.workers,
        progress=lambda done, total: job.progress(done, 2 * total),
    )
    counted = time.perf_counter()
    silhouette = silhouette_per_layer(
        reads,
        labels,
        layers,
        most=settings.silhouette_samples,
        seed=settings.seed,
        workers=settings.workers,
        progress=lambda done, total: job.progress(total + done, 2 * total),
    )
    figures = {
        "kl": kl_per_layer(moments, settings.eps),
        "ldr": ldr_per_layer(moments, settings.eps),
        "entropy": entropy,
        "silhouette": silhouette,
    }
    _write(job, moments, figures)
    seconds = {
        "merge": merged - begin,
        "entropy": counted - merged,
        "silhouette": time.perf_counter() - counted,
    }
    return Result(layers, seconds=seconds)


def _merged(job: Job[Settings]) -> Moments:
    """The moments of all probing videos; they are read as they are merged."""
    from stages.probes.moments import merge_tree, read_moments

    videos = sorted(job.many["moments"])
    shapes: list[tuple[int, int]] = []

    def leaf(number: int) -> Moments:
        part = read_moments(job.many["moments"][videos[number]].file("moments.safetensors"))
        shapes.append(part.shape)
        _require_shape(videos[number], part.shape, shapes[0])
        return part

    return merge_tree(len(videos), leaf)


def _opened(job: Job[Settings], shape: tuple[int, int]) -> tuple[list[States], list[Ints]]:
    """The hidden states of every video, opened, and the labels of its segments."""
    from cache.arrays import States
    from stages.probes.spans import label_of, read_spans, require_rows, segment_labels

    opened, labels = [], []
    for video in sorted(job.many["moments"]):
        states = States.open(job.many["states"][video].file("states.zarr"))
        _require_shape(video, states.shape[1:], shape)
        spans = read_spans(job.many["plan"][video].file("segments.parquet"), SEGMENTS, video)
        require_rows(video, states.shape[0], spans)
        opened.append(states)
        labels.append(segment_labels(video, label_of(video, job.values["labels"]), spans))
    return opened, labels


def _require_same_labels(moments: Moments, labels: list[Ints]) -> None:
    anomalous = sum(int(part.sum()) for part in labels)
    if moments.anomalous.n != anomalous:
        raise ConfigError(
            f"the moments were taken with {moments.anomalous.n} anomalous segments, the labels give "
            f"{anomalous}; run the moments again with the labels of now"
        )


def _require_shape(video: str, found: tuple[int, ...], expected: tuple[int, int]) -> None:
    if found != expected:
        raise ConfigError(
            f"{video}: hidden states have [layers, dim] = {list(found)}, other probing videos "
            f"{list(expected)}; compute all of them with one backbone"
        )


def _write(job: Job[Settings], moments: Moments, figures: Mapping[str, Any]) -> None:
    import numpy as np

    from manifests.table import write_table

    layers, dim = moments.shape
    for name, values in figures.items():
        if not np.isfinite(values).all():
            layer = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ConfigError(
                f"{name} of layer {layer} is {values[layer]}, expected a finite number: the hidden "
                "states are too large for it; check the backbone's dtype"
            )
    columns = {
        "layer": np.arange(layers),
        "n_normal": np.full(layers, moments.normal.n),
        "n_anomalous": np.full(layers, moments.anomalous.n),
        **figures,
    }
    write_table(job.out / "layers.parquet", LAYERS, columns)
    settings = job.settings
    record = {
        "bins": settings.bins,
        "eps": settings.eps,
        "n_normal": moments.normal.n,
        "n_anomalous": moments.anomalous.n,
        "dim": dim,
        "layers": layers,
        "videos": len(job.many["moments"]),
        "silhouette_samples": settings.silhouette_samples,
        "seed": settings.seed,
    }
    write_json(job.out / "statistics.json", record)
