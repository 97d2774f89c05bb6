"""Stage statistics (a data set): what the probing subset says of every layer."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cache.ahead import ahead
from cache.digest import write_json
from cache.errors import ConfigError
from cache.ranges import ranges_of
from manifests.schema import LAYER_REPLICATES, LAYERS, SEGMENTS
from stages.contract import Job, Result
from stages.probes.statistics_settings import Settings as Settings

if TYPE_CHECKING:
    from stages.probes.entropy import Entropies
    from stages.probes.moments import Moments
    from stages.probes.silhouette import Silhouettes
    from stages.probes.spans import Floats, Ints, Spans
    from stages.probes.states import ProbedStates

VERSION = 5

_Form = tuple[tuple[int, ...], int]
"""Numbers of the layers, and the width, of hidden states."""
_Figures = dict[str, "Floats"]


def compute(job: Job[Settings]) -> Result:
    """Write layers.parquet (KL, LDR, entropy, silhouette per layer) and statistics.json.

    replicates.parquet has the same of every replicate of a bootstrap over the videos (unless there
    are none), training_rows.parquet says which videos they rest on. Reads "moments", "states" and
    "plan" of every probing video, and the values "labels" {video_id: {"split": "train", "label":
    ..., "intervals": ...}} and "question". Rows are the kept layers, by number. Raises LeakageError
    for a video that is no training video, ConfigError where a class has no sample, or where videos
    come from different backbones.
    """
    from stages.probes.resampling import video_draws
    from stages.probes.training import require_both_classes, write_training_rows

    settings, begin = job.settings, time.perf_counter()
    moments = _merged(job)
    require_both_classes(moments.normal.n, moments.anomalous.n)
    states, labels = _opened(job, moments)
    _require_same_labels(moments, labels)
    write_training_rows(job.out / "training_rows.parquet", job.values["labels"], labels)
    draws = video_draws(list(labels.values()), settings.replicates, settings.seed)
    figures, replicates = _divergences(job, moments, draws)
    merged = time.perf_counter()
    entropy = _entropy(job, moments, states, draws)
    counted = time.perf_counter()
    silhouette = _silhouette(job, moments, states, labels, draws)
    figures |= {"entropy": entropy.mean, "silhouette": silhouette.mean}
    figures["silhouette_se"] = silhouette.error
    replicates |= {"entropy": entropy.replicates, "silhouette": silhouette.replicates}
    _write(job, moments, figures)
    _write_replicates(job, moments, replicates)
    _write_record(job, moments, silhouette.samples)
    seconds = {
        "merge": merged - begin,
        "entropy": counted - merged,
        "silhouette": time.perf_counter() - counted,
    }
    return Result(len(moments.layers), seconds=seconds)


def _divergences(job: Job[Settings], moments: Moments, draws: Ints) -> tuple[_Figures, _Figures]:
    """KL and LDR, [layers] and [replicates, layers]."""
    from stages.probes.divergence import Gaussians
    from stages.probes.moments import read_layer
    from stages.probes.replicates import divergence_replicates

    eps = job.settings.eps
    found = Gaussians.of(moments)
    parts = job.many["moments"]
    reads = [
        functools.partial(read_layer, parts[video].file("moments.safetensors"))
        for video in sorted(parts)
    ]
    kl, ldr = divergence_replicates(reads, len(moments.layers), draws, eps)
    return {"kl": found.kl(eps), "ldr": found.ldr(eps)}, {"kl": kl, "ldr": ldr}


def _entropy(
    job: Job[Settings], moments: Moments, states: Sequence[ProbedStates], draws: Ints
) -> Entropies:
    from stages.probes.entropy import entropy_per_layer

    return entropy_per_layer(
        states,
        moments.low,
        moments.high,
        bins=job.settings.bins,
        draws=draws,
        workers=job.settings.workers,
        progress=lambda done, total: job.progress(done, 2 * total),
    )


def _silhouette(
    job: Job[Settings],
    moments: Moments,
    states: Sequence[ProbedStates],
    labels: Mapping[str, Ints],
    draws: Ints,
) -> Silhouettes:
    from stages.probes.silhouette import silhouette_per_layer

    settings = job.settings
    return silhouette_per_layer(
        [video.rows for video in states],
        list(labels.values()),
        moments.layers,
        most=settings.silhouette_samples,
        seed=settings.seed,
        draws=draws,
        workers=settings.workers,
        progress=lambda done, total: job.progress(total + done, 2 * total),
    )


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

    def read(video: str) -> tuple[ProbedStates, Spans]:
        states = probed_states(video, job.many["states"][video], job.values["question"])
        plan = job.many["plan"][video].file("segments.parquet")
        return states, read_spans(plan, SEGMENTS, video)

    opened, labels, videos = [], {}, sorted(job.many["moments"])
    for video, (states, spans) in zip(videos, ahead(read, videos), strict=True):
        form = (moments.layers, moments.dim)
        _require_same_form(video, (states.layers, states.dim), form)
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


def _write(job: Job[Settings], moments: Moments, figures: _Figures) -> None:
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


def _write_replicates(job: Job[Settings], moments: Moments, figures: _Figures) -> None:
    """One row per replicate and layer; a figure that is not defined there is null."""
    import numpy as np

    from manifests.table import write_table

    layers, replicates = len(moments.layers), job.settings.replicates
    if not replicates:
        return
    columns: dict[str, Any] = {
        "replicate": np.repeat(np.arange(replicates), layers),
        "layer": np.tile(np.asarray(moments.layers), replicates),
    }
    columns |= {
        name: [None if np.isnan(value) else float(value) for value in values.ravel()]
        for name, values in figures.items()
    }
    write_table(job.out / "replicates.parquet", LAYER_REPLICATES, columns)


def _write_record(job: Job[Settings], moments: Moments, samples: int) -> None:
    settings = job.settings
    record = {
        "bins": settings.bins,
        "eps": settings.eps,
        "n_normal": moments.normal.n,
        "n_anomalous": moments.anomalous.n,
        "dim": moments.dim,
        "layers": len(moments.layers),
        "videos": len(job.many["moments"]),
        "silhouette_samples": samples,
        "silhouette_exact": samples == moments.normal.n + moments.anomalous.n,
        "replicates": settings.replicates,
        "seed": settings.seed,
    }
    write_json(job.out / "statistics.json", record)
