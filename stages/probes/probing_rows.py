"""The rows that a scorer is fitted on: of every probing video, once in memory or again and again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cache.ahead import THREADS, ahead
from cache.errors import ConfigError
from manifests.schema import SEGMENTS
from stages.contract import Payload
from stages.probes.choice import Choice
from stages.probes.samples import probed_rows
from stages.probes.spans import Ints, Spans, read_spans, require_rows
from stages.probes.states import Rows, probed_states
from stages.probes.training import label_of, segment_labels

AHEAD_BYTES = 64 << 20
"""Bytes of rows that are read before they are asked for."""
HELD = 4
"""Bytes of each number of the rows, float32."""
FITTED = 30
"""Bytes that a fit in memory needs for each number, of the kind that needs most (mahalanobis): the rows
of some videos alone in float32 (4), and three arrays like them in float64 (24)."""


@dataclass(frozen=True, slots=True, eq=False)
class ProbingRows:
    """The probing videos in order of their ids, with labels; their rows are read when asked for."""

    videos: tuple[str, ...]
    labels: tuple[Ints, ...]
    """Of the segments of every video, from `segment_labels`: training videos alone."""
    spans: tuple[Spans, ...]
    dim: int
    """Width of a row."""
    context: int
    """Of them the numbers of the context, which stands behind the heads; 0 without one."""
    states: Mapping[str, Payload]
    question: str
    choice: Choice

    @property
    def count(self) -> int:
        """Rows of all videos."""
        return sum(len(labels) for labels in self.labels)

    def read(self, video: int) -> Rows:
        """The rows of a video by its place, float32 [segments, dim].

        Raises ConfigError for a row that is not finite or of another width, and what `probed_rows`
        and `require_rows` raise.
        """
        name = self.videos[video]
        found = probed_rows(name, self.states[name], self.question, self.choice)
        if found.shape[1] != self.dim:
            raise ConfigError(
                f"{name}: hidden states have {found.shape[1]} numbers, those of other probing "
                f"videos {self.dim}; use one backbone for all"
            )
        require_rows(name, len(found), self.spans[video])
        wrong = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(wrong):
            raise ConfigError(
                f"{name}: the hidden state of segment {int(wrong[0])} is not finite, and nothing can "
                "be fitted on it; run the forward stage again for this video"
            )
        return found

    def chunks(self, videos: Sequence[int]) -> Iterator[Rows]:
        """The rows of some videos, one after the other; few are in memory at once, or one long one."""
        largest = max((len(self.labels[video]) for video in videos), default=1)
        at_once = AHEAD_BYTES // max(1, largest * self.dim * HELD)
        return ahead(self.read, videos, min(THREADS, at_once))

    def labels_of(self, videos: Sequence[int]) -> Ints:
        """The labels of their rows."""
        return np.concatenate([self.labels[video] for video in videos])

    def all(self, at_once: int) -> Rows:
        """Every row, float32 [count, dim].

        Raises ConfigError where so many fits side by side would not fit in this machine's memory.
        """
        require_memory(self.count, self.dim, at_once, memory_bytes())
        rows = np.empty((self.count, self.dim), dtype=np.float32)
        first = 0
        for found in self.chunks(range(len(self.videos))):
            rows[first : first + len(found)] = found
            first += len(found)
        return rows


def probing_rows(
    states: Mapping[str, Payload],
    plans: Mapping[str, Payload],
    labels: Mapping[str, Any],
    question: str,
    choice: Choice,
) -> ProbingRows:
    """The rows of a choice at a question; all by video id.

    Raises LeakageError for a video that is no training video, ConfigError where there is none or one
    has no label, and what `probed_rows` and `read_spans` raise.
    """
    videos = tuple(sorted(states))
    if not videos:
        raise ConfigError("there is no probing video: the probing subset must name at least one")
    spans = tuple(
        ahead(lambda v: read_spans(plans[v].file("segments.parquet"), SEGMENTS, v), videos)
    )
    found = tuple(
        segment_labels(video, label_of(video, labels), of_video)
        for video, of_video in zip(videos, spans, strict=True)
    )
    name, payload = videos[0], states[videos[0]]
    dim, context = probed_rows(name, payload, question, choice).shape[1], 0
    if choice.context is not None:
        context = probed_states(name, payload, question).dim
    return ProbingRows(videos, found, spans, dim, context, states, question, choice)


def memory_bytes() -> int:
    """The memory of this machine, whatever else runs on it now."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def require_memory(rows: int, dim: int, at_once: int, there: int) -> None:
    """Raise ConfigError where fits of [rows, dim] in memory need more bytes than there are."""
    needed = rows * dim * (HELD + at_once * FITTED)
    if needed > there:
        raise ConfigError(
            f"{rows:,} probing rows of {dim:,} numbers need about {needed / 2**30:.1f} GiB to be "
            f"fitted in memory, this machine has {there / 2**30:.1f} GiB: set fit.scorer = "
            '"logistic" and fit.solver = "streaming", or probe fewer videos'
        )
