"""Stage heads (a data set): what the probing subset says of every attention head."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cache.digest import write_json
from cache.errors import ConfigError, ItemError
from cache.fields import at_least, positive, recipe
from manifests.schema import HEADS, SEGMENTS
from stages.contract import Job, Result

if TYPE_CHECKING:
    from cache.arrays import Heads
    from stages.probes.spans import Floats, Ints
    from stages.probes.states import Rows

VERSION = 3


@dataclass(frozen=True)
class Settings:
    """How the heads are described."""

    eps: float = recipe(1e-6, "least share by which a covariance is shrunk", check=positive)
    samples: int = recipe(
        2000, "rows that MMD and NMI are computed on; more are sampled", check=at_least(2)
    )
    starts: int = recipe(10, "starts of K-means, of which the best counts", check=at_least(1))
    seed: int = recipe(0, "seed of that sample and of K-means", check=at_least(0))


@dataclass(frozen=True, eq=False)
class _Probing:
    """The heads of every probing video, opened."""

    videos: list[tuple[str, Heads]]
    samples: dict[str, Ints]
    """Labels of the segments by video id, in the same order."""
    labels: Ints
    """The same, video after video."""
    questions: list[str]

    @property
    def form(self) -> Heads:
        """Any of them: all keep the same heads."""
        return self.videos[0][1]


def compute(job: Job[Settings]) -> Result:
    """Write heads.parquet (every figure of every head at every prompt) and heads.json.

    training_rows.parquet beside them says which videos they rest on. Reads "states" and "plan" of
    every probing video, and the value "labels" {video_id: {"split": "train", "label": ...,
    "intervals": ...}}. The figures are those of stages/probes/heads/figures.py; one that is not
    defined is null. Raises LeakageError for a video that is no training video, ConfigError where a
    class has no sample, no heads are kept, or videos keep others, ItemError for a number that is not
    finite.
    """
    from threadpoolctl import threadpool_limits

    from stages.probes.silhouette import stratified_rows
    from stages.probes.training import write_training_rows

    begin, settings = time.perf_counter(), job.settings
    probing = _opened(job)
    write_training_rows(job.out / "training_rows.parquet", job.values["labels"], probing.samples)
    sampled = stratified_rows(probing.labels, settings.samples, settings.seed)
    layers = sorted({layer for layer, _ in probing.form.heads})
    found: dict[str, list[Any]] = {name: [] for name in HEADS.names}
    seconds = {"open": time.perf_counter() - begin, "read": 0.0, "compute": 0.0}
    # One BLAS thread: the sums of a threaded matrix product depend on the number of threads.
    with threadpool_limits(limits=1):
        for number, layer in enumerate(layers):
            for prompt in range(len(probing.questions)):
                began = time.perf_counter()
                rows = _rows(probing, layer, prompt)
                read = time.perf_counter()
                _add(
                    found, probing, layer, prompt, _figures(rows, probing.labels, sampled, settings)
                )
                seconds["read"] += read - began
                seconds["compute"] += time.perf_counter() - read
            job.progress(number + 1, len(layers))
    _write(job, probing, len(sampled), found)
    return Result(len(found["head"]), seconds=seconds)


def _opened(job: Job[Settings]) -> _Probing:
    """The heads of every video, the labels of its segments, and the questions asked of all."""
    import numpy as np

    from stages.probes.heads.kept import kept_heads
    from stages.probes.spans import read_spans, require_rows
    from stages.probes.states import questions_of
    from stages.probes.training import label_of, require_both_classes, segment_labels

    videos, samples, questions = [], {}, []
    for video, payload in sorted(job.many["states"].items()):
        heads = kept_heads(video, payload)
        spans = read_spans(job.many["plan"][video].file("segments.parquet"), SEGMENTS, video)
        require_rows(video, heads.segments, spans)
        videos.append((video, heads))
        questions.append(questions_of(payload))
        samples[video] = segment_labels(video, label_of(video, job.values["labels"]), spans)
        first = videos[0][1]
        mine, others = ((h.heads, h.head_dim) for h in (heads, first))
        if mine != others or questions[-1] != questions[0]:
            raise ConfigError(
                f"{video}: it has {heads!r} for {questions[-1]}, {videos[0][0]} has {first!r} for "
                f"{questions[0]}; compute all with one backbone, forward.heads and forward.prompts"
            )
    if not videos:
        raise ConfigError("there is no probing video: the probing subset must name at least one")
    together = np.concatenate(list(samples.values()))
    require_both_classes(int((together == 0).sum()), int(together.sum()))
    return _Probing(videos, samples, together, questions[0])


def _rows(probing: _Probing, layer: int, prompt: int) -> Floats:
    """The heads of a layer at a prompt, float64 [heads, segments of all videos, head_dim]."""
    import numpy as np

    parts: list[Rows] = []
    for video, heads in probing.videos:
        parts.append(heads.of_layer(layer, prompt))
        if not np.isfinite(parts[-1]).all():
            segment, place, _ = (int(i) for i in np.argwhere(~np.isfinite(parts[-1]))[0])
            raise ItemError(
                f"{video}: segment {segment} of a head of layer {layer} (number {place} of those "
                "kept) is not finite; run the forward stage again, in float32 or bfloat16"
            )
    rows = np.concatenate(parts).transpose(1, 0, 2)
    return np.ascontiguousarray(rows, dtype=np.float64)


def _figures(rows: Floats, labels: Ints, sampled: Ints, settings: Settings) -> dict[str, Floats]:
    """Every figure, [heads] each."""
    from stages.probes.heads import figures

    some, their = rows[:, sampled], labels[sampled]
    return {
        "lda": figures.lda(rows, labels, settings.eps),
        "kl": figures.symmetric_kl(rows, labels, settings.eps),
        "mmd": figures.mmd(some, their),
        "nmi": figures.nmi(some, their, starts=settings.starts, seed=settings.seed),
        "separability": figures.separability(rows, labels),
    }


def _add(
    found: dict[str, list[Any]],
    probing: _Probing,
    layer: int,
    prompt: int,
    figures: dict[str, Floats],
) -> None:
    """Add the rows of one layer at one prompt to the columns of the table."""
    import numpy as np

    heads = [head for at, head in probing.form.heads if at == layer]
    anomalous = int(probing.labels.sum())
    same = {
        "layer": layer,
        "prompt": prompt,
        "n_normal": len(probing.labels) - anomalous,
        "n_anomalous": anomalous,
    }
    found["head"] += heads
    for name, value in same.items():
        found[name] += [value] * len(heads)
    for name, values in figures.items():
        found[name] += [float(v) if np.isfinite(v) else None for v in values]


def _write(
    job: Job[Settings], probing: _Probing, sampled: int, found: dict[str, list[Any]]
) -> None:
    from manifests.table import write_table

    write_table(job.out / "heads.parquet", HEADS, found)
    anomalous = int(probing.labels.sum())
    record = {
        "eps": job.settings.eps,
        "starts": job.settings.starts,
        "seed": job.settings.seed,
        "samples": sampled,
        "n_normal": len(probing.labels) - anomalous,
        "n_anomalous": anomalous,
        "heads": len(probing.form.heads),
        "head_dim": probing.form.head_dim,
        "questions": probing.questions,
        "videos": len(probing.videos),
    }
    write_json(job.out / "heads.json", record)
