"""Stage heads (a data set): what the probing subset says of every attention head."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cache.ahead import ahead
from cache.digest import write_json
from cache.errors import ConfigError, ItemError
from cache.fields import at_least, knob, positive, recipe
from manifests.schema import HEAD_REPLICATES, HEADS, SEGMENTS
from stages.contract import Job, Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cache.arrays import Heads
    from stages.probes.heads.description import Described, Subject
    from stages.probes.heads.discrepancy import Room
    from stages.probes.spans import Ints, Spans
    from stages.probes.states import Rows

VERSION = 4


@dataclass(frozen=True)
class Settings:
    """How the heads are described."""

    eps: float = recipe(1e-6, "least share by which a covariance is shrunk", check=positive)
    samples: int = recipe(
        2000, "rows that MMD and NMI are computed on; more are sampled", check=at_least(2)
    )
    starts: int = recipe(10, "starts of K-means, of which the best counts", check=at_least(1))
    seed: int = recipe(0, "seed of that sample, K-means and the bootstrap", check=at_least(0))
    replicates: int = recipe(
        200,
        "replicates of a bootstrap over the probing videos, for separability; 0 is none",
        check=at_least(0),
    )
    workers: int = knob(2, "threads that read heads and describe them", check=at_least(1))


@dataclass(frozen=True, eq=False)
class _Probing:
    """The heads of every probing video, opened."""

    videos: list[tuple[str, Heads]]
    labels: dict[str, Ints]
    """Those of the segments by video id, in the same order."""
    questions: list[str]

    @property
    def form(self) -> Heads:
        """Any of them: all keep the same heads."""
        return self.videos[0][1]

    @property
    def slots(self) -> list[tuple[int, int]]:
        """Every layer at every prompt, in that order."""
        layers = sorted({layer for layer, _ in self.form.heads})
        return [(layer, prompt) for layer in layers for prompt in range(len(self.questions))]


def compute(job: Job[Settings]) -> Result:
    """Write heads.parquet (every figure of every head at every prompt) and heads.json.

    replicates.parquet holds the separability in every replicate of a bootstrap over the videos,
    training_rows.parquet says which videos all of them rest on. Reads "states" and "plan" of every
    probing video, and the value "labels" {video_id: {"split": "train", "label": ..., "intervals":
    ...}}. The figures are those of stages/probes/heads; one that is not defined is null. Raises
    LeakageError for a video that is no training video, ConfigError where a class has no sample, no
    heads are kept, or videos keep others, ItemError for a number that is not finite.
    """
    from stages.probes.heads.description import subject_of
    from stages.probes.training import write_training_rows

    begin, settings = time.perf_counter(), job.settings
    probing = _opened(job)
    write_training_rows(job.out / "training_rows.parquet", job.values["labels"], probing.labels)
    subject = subject_of(
        list(probing.labels.values()), eps=settings.eps, samples=settings.samples,
        starts=settings.starts, seed=settings.seed, replicates=settings.replicates,
    )  # fmt: skip
    opened = time.perf_counter()
    described = []
    for slot in _described(probing, subject, settings.workers):
        described.append(slot)
        job.progress(len(described), len(probing.slots))
    computed = time.perf_counter()
    _write(job, probing, subject, described)
    seconds = {
        "open": opened - begin,
        "compute": computed - opened,
        "write": time.perf_counter() - computed,
    }
    return Result(len(probing.form.heads) * len(probing.questions), seconds=seconds)


def _opened(job: Job[Settings]) -> _Probing:
    """The heads of every video, the labels of its segments, and the questions asked of all."""
    import numpy as np

    from stages.probes.heads.kept import kept_heads
    from stages.probes.spans import read_spans, require_rows
    from stages.probes.states import questions_of
    from stages.probes.training import label_of, require_both_classes, segment_labels

    def read(video: str) -> tuple[Heads, Spans, list[str]]:
        payload = job.many["states"][video]
        spans = read_spans(job.many["plan"][video].file("segments.parquet"), SEGMENTS, video)
        return kept_heads(video, payload), spans, questions_of(payload)

    videos, labels, questions = [], {}, []
    names = sorted(job.many["states"])
    for video, (heads, spans, asked) in zip(names, ahead(read, names), strict=True):
        require_rows(video, heads.segments, spans)
        videos.append((video, heads))
        questions.append(asked)
        labels[video] = segment_labels(video, label_of(video, job.values["labels"]), spans)
        first = videos[0][1]
        mine, others = ((h.heads, h.head_dim) for h in (heads, first))
        if mine != others or questions[-1] != questions[0]:
            raise ConfigError(
                f"{video}: it has {heads!r} for {questions[-1]}, {videos[0][0]} has {first!r} for "
                f"{questions[0]}; compute all with one backbone, forward.heads and forward.prompts"
            )
    if not videos:
        raise ConfigError("there is no probing video: the probing subset must name at least one")
    together = np.concatenate(list(labels.values()))
    require_both_classes(int((together == 0).sum()), int(together.sum()))
    return _Probing(videos, labels, questions[0])


def _described(probing: _Probing, subject: Subject, workers: int) -> Iterator[Described]:
    """What every slot holds, in order; `workers` of them are read and described at a time."""
    from concurrent.futures import ThreadPoolExecutor
    from queue import SimpleQueue

    from threadpoolctl import threadpool_limits

    from stages.probes.heads.description import describe
    from stages.probes.heads.discrepancy import room_for

    rooms: SimpleQueue[tuple[Rows, Room]] = SimpleQueue()
    for _ in range(workers):
        rooms.put((_empty_rows(probing, subject), room_for(len(subject.sampled))))

    def of_slot(slot: tuple[int, int]) -> Described:
        rows, room = rooms.get()
        try:
            return describe(_read(probing, *slot, rows), subject, room)
        finally:
            rooms.put((rows, room))

    # One BLAS thread: the sums of a threaded matrix product depend on the number of threads.
    with threadpool_limits(limits=1), ThreadPoolExecutor(workers, "heads") as pool:
        yield from pool.map(of_slot, probing.slots)


def _empty_rows(probing: _Probing, subject: Subject) -> Rows:
    """Memory for the largest slot, float32 [segments of all videos, heads, head_dim]."""
    from collections import Counter

    import numpy as np

    most = max(Counter(layer for layer, _ in probing.form.heads).values())
    return np.empty((len(subject.labels), most, probing.form.head_dim), dtype=np.float32)


def _read(probing: _Probing, layer: int, prompt: int, rows: Rows) -> Rows:
    """The heads of a layer at a prompt, read into a part of `rows`: [segments, heads, head_dim]."""
    import numpy as np

    done = 0
    found = rows[:, :0]
    for video, heads in probing.videos:
        part = heads.of_layer(layer, prompt)
        if not np.isfinite(part).all():
            segment, place, _ = (int(i) for i in np.argwhere(~np.isfinite(part))[0])
            raise ItemError(
                f"{video}: segment {segment} of a head of layer {layer} (number {place} of those "
                "kept) is not finite; run the forward stage again, in float32 or bfloat16"
            )
        found = rows[:, : part.shape[1]]
        found[done : done + len(part)] = part
        done += len(part)
    return found


def _write(
    job: Job[Settings], probing: _Probing, subject: Subject, described: list[Described]
) -> None:
    import numpy as np

    from manifests.table import write_table

    places = [
        (layer, head, prompt)
        for layer, prompt in probing.slots
        for at, head in probing.form.heads
        if at == layer
    ]
    named = dict(zip(("layer", "head", "prompt"), np.asarray(places).T, strict=True))
    anomalous = int(subject.labels.sum())
    counts = {"n_normal": len(subject.labels) - anomalous, "n_anomalous": anomalous}
    columns = {name: np.full(len(places), count) for name, count in counts.items()}
    for name in described[0].figures:
        columns[name] = _nulls(np.concatenate([slot.figures[name] for slot in described]))
    write_table(job.out / "heads.parquet", HEADS, {**named, **columns})
    settings, drawn = job.settings, np.concatenate([slot.separability for slot in described])
    columns = {name: np.repeat(values, settings.replicates) for name, values in named.items()}
    columns["replicate"] = np.tile(np.arange(settings.replicates), len(places))
    columns["separability"] = _nulls(drawn.ravel())
    write_table(job.out / "replicates.parquet", HEAD_REPLICATES, columns)
    record = {
        "eps": settings.eps,
        "starts": settings.starts,
        "seed": settings.seed,
        "samples": len(subject.sampled),
        "replicates": settings.replicates,
        **counts,
        "heads": len(probing.form.heads),
        "head_dim": probing.form.head_dim,
        "questions": probing.questions,
        "videos": len(probing.videos),
    }
    write_json(job.out / "heads.json", record)


def _nulls(values: Any) -> Any:
    """Figures as a table holds them: None where one is not finite."""
    import numpy as np

    return np.where(np.isfinite(values), values, None)
