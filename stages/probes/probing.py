"""The probing videos of a data set stage, opened: hidden states, and labels of their segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cache.ahead import ahead
from cache.errors import ConfigError
from cache.ranges import ranges_of
from manifests.schema import SEGMENTS
from stages.contract import Payload
from stages.probes.spans import Ints, read_spans, require_rows
from stages.probes.states import ProbedStates, probed_states
from stages.probes.training import label_of, require_both_classes, segment_labels


@dataclass(frozen=True, slots=True, eq=False)
class ProbingVideo:
    """One of them."""

    video_id: str
    states: ProbedStates
    labels: Ints
    """Of its segments: 0 normal, 1 anomalous."""


def probing_labels(plans: Mapping[str, Payload], labels: Mapping[str, Any]) -> dict[str, Ints]:
    """Label of every segment of every probing video, by video id in order.

    `labels` are the entries of `segment_labels`, `plans` the artifacts that hold the segments.
    Raises LeakageError for a video that is no training video, ConfigError where a class has no
    sample.
    """
    videos = sorted(plans)
    spans = ahead(lambda v: read_spans(plans[v].file("segments.parquet"), SEGMENTS, v), videos)
    found: dict[str, Ints] = {}
    for video, own in zip(videos, spans, strict=True):
        found[video] = segment_labels(video, label_of(video, labels), own)
    if not found:
        raise ConfigError("there is no probing video: the probing subset must name at least one")
    anomalous = sum(int(part.sum()) for part in found.values())
    require_both_classes(sum(map(len, found.values())) - anomalous, anomalous)
    return found


def probing_videos(
    many: Mapping[str, Mapping[str, Payload]], labels: Mapping[str, Any], question: str
) -> list[ProbingVideo]:
    """Open the "states" and "plan" of every probing video, in order of the ids.

    Raises what `probing_labels` does, ConfigError where videos have hidden states of different
    layers or widths, ItemError where they are not one row per segment.
    """
    found: list[ProbingVideo] = []
    plans = {video: many["plan"][video] for video in many["states"]}
    labelled = probing_labels(plans, labels)
    opened = ahead(lambda v: probed_states(v, many["states"][v], question), labelled)
    for (video, own), states in zip(labelled.items(), opened, strict=True):
        require_rows(video, states.segments, own)
        found.append(ProbingVideo(video, states, own))
        first = found[0].states
        if (states.layers, states.dim) != (first.layers, first.dim):
            raise ConfigError(
                f"{video}: hidden states have layers {ranges_of(states.layers)} [{states.dim}], "
                f"those of {found[0].video_id} {ranges_of(first.layers)} [{first.dim}]; compute all "
                "of them with one backbone and the same forward.layers"
            )
    return found
