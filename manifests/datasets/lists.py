"""The lists of a published data set, joined: which videos it has, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from manifests.datasets.annotation_lines import AnnotatedVideo
from manifests.datasets.contract import Annotation, Deviation, Entry, Sources, VideoLabel
from manifests.datasets.frame_counts import FrameCount, gather_counts
from manifests.datasets.names import folded
from manifests.datasets.problems import Problems
from manifests.datasets.split_lists import ListedName, read_names

NORMAL = "Normal"
"""The class of every video that is not anomalous, whatever the lists call it."""


_ADJECTIVE = {"train": "training", "test": "test"}


class Place(NamedTuple):
    """What the folders that a video lies in say; empty where they say nothing."""

    split: str
    class_name: str


class Rules(Protocol):
    """What the names and folders of one published data set say by themselves."""

    official: Mapping[tuple[str, str], int]
    """How many videos the data set has, by (split, class)."""
    fps: float | None
    """Frame rate of all its videos, where it has one."""
    normal_annotated: bool
    """Whether the annotations name the normal test videos too."""

    def class_of(self, name: str) -> str | None:
        """The class that a name says, or None."""
        ...

    def place(self, path: str) -> Place:
        """What the folders of a path say."""
        ...

    def unlisted(self, path: str, name: str) -> VideoLabel | Deviation:
        """What is known of a file that no list names, or why it is left out."""
        ...


def by_split(classes: Mapping[str, tuple[int, int]]) -> Mapping[tuple[str, str], int]:
    """Training and test videos of each class, as `Rules.official` has them."""
    return {
        (split, name): counts[place]
        for place, split in enumerate(("train", "test"))
        for name, counts in classes.items()
    }


def left_out(path: str, why: str) -> Deviation:
    """A file that is no video of the data set; `why` follows its path."""
    return Deviation("extra", path, f"{path!r} {why}: left out", stops=False)


@dataclass(slots=True)
class Lists:
    """What the lists say together."""

    entries: dict[str, Entry] = field(default_factory=dict)
    """By the folded name; test videos first, each split in the order of its list."""
    places: dict[str, str] = field(default_factory=dict)
    """The path that a list gives a video, by the folded name, where it has folders."""
    deviations: list[Deviation] = field(default_factory=list)
    counts: Mapping[str, FrameCount] = field(default_factory=dict)
    """Frame counts by the folded name, also of videos that no list of a split names."""

    def measured(self, entry: Entry, fps: float | None) -> Entry:
        """The entry with its frame count, and with `fps` where no list gives a rate."""
        count = self.counts.get(folded(entry.name))
        if count is None:
            return replace(entry, fps=fps)
        return replace(entry, frames=count.frames, fps=count.fps or fps)


def join_lists(sources: Sources, annotated: Sequence[AnnotatedVideo], rules: Rules) -> Lists:
    """Join annotations (their classes already in our words), split lists and frame counts.

    Test videos are those of the annotations and of data.test_list, training videos those of
    data.train_list. Whatever contradicts itself is a deviation; for a video in both splits the
    test set holds. Raises ConfigError for lists that cannot be read.
    """
    lists = Lists()
    lists.counts, found = gather_counts(sources.frame_counts)
    lists.deviations += found
    known = _annotated_once(annotated, lists)
    if sources.test_list is None:
        for key, video in known.items():
            _add(lists, key, _of_annotation(video))
    else:
        _add_test_list(lists, known, sources.test_list, rules)
    if sources.train_list is not None:
        _add_train_list(lists, sources.train_list, rules)
    for key, entry in lists.entries.items():
        lists.entries[key] = lists.measured(entry, rules.fps)
        lists.deviations += _contradictions(entry, lists.places.get(key, ""), rules)
    return lists


def doubt(entry: Entry, path: str, rules: Rules) -> Deviation | None:
    """What the folders of a path say against what is known of a video, or None."""
    place, known, folder = rules.place(path), entry.known, path.rpartition("/")[0]
    if place.class_name and place.class_name != known.class_name:
        stops = (place.class_name == NORMAL) != (known.label == 0)
        text = (
            f"{entry.name} is of class {known.class_name} by its name or list, and lies in "
            f"{folder!r}, a folder of class {place.class_name}: "
        )
        text += "make sure which video it is" if stops else f"taken as {known.class_name}"
        return Deviation("contradiction", entry.name, text, stops)
    if place.split and known.split and place.split != known.split:
        text = (
            f"{entry.name} is a {_ADJECTIVE[known.split]} video by the lists, and lies in "
            f"{folder!r}, a folder of {_ADJECTIVE[place.split]} videos: taken as a "
            f"{_ADJECTIVE[known.split]} video"
        )
        return Deviation("contradiction", entry.name, text, stops=False)
    return None


def _contradictions(entry: Entry, path: str, rules: Rules) -> list[Deviation]:
    """What is wrong with one video as the lists have it."""
    found = []
    known, named = entry.known, rules.class_of(entry.name)
    if named is not None and named != known.class_name:
        text = (
            f"{entry.name} is of class {named} by its name, and of class {known.class_name} by "
            f"the lists: taken as {known.class_name}"
        )
        stops = NORMAL in (named, known.class_name)
        found.append(Deviation("contradiction", entry.name, text, stops))
    against = doubt(entry, path, rules) if path else None
    if against is not None:
        found.append(replace(against, text=f"{against.text} (as the list of videos has it)"))
    if known.label == 0 and known.annotations:
        text = f"{entry.name} is normal, and has an annotated interval: correct one of the two"
        found.append(Deviation("contradiction", entry.name, text, stops=True))
    if known.split == "test" and known.label == 1 and not known.annotations:
        text = (
            f"{entry.name} is an anomalous test video, and has no annotated interval: it cannot be "
            "evaluated"
        )
        found.append(Deviation("contradiction", entry.name, text, stops=True))
    return found


def _of_annotation(video: AnnotatedVideo) -> Entry:
    spans = tuple(Annotation(start, end, video.class_name) for start, end in video.intervals)
    label = int(video.class_name != NORMAL)
    return Entry(video.name, VideoLabel("test", label, video.class_name, spans))


def _annotated_once(annotated: Sequence[AnnotatedVideo], lists: Lists) -> dict[str, AnnotatedVideo]:
    """The annotations by the folded name; of two lines for one video the first counts."""
    known: dict[str, AnnotatedVideo] = {}
    for video in annotated:
        first = known.setdefault(folded(video.name), video)
        if first is not video:
            same = (first.class_name, first.intervals) == (video.class_name, video.intervals)
            text = f"{video.name} is annotated twice, " + (
                "the same both times" if same else "and differently: remove one of the lines"
            )
            lists.deviations.append(Deviation("contradiction", video.name, text, not same))
    return known


def _add_test_list(
    lists: Lists, known: Mapping[str, AnnotatedVideo], path: Path, rules: Rules
) -> None:
    problems = Problems(path)
    for key, listed in _listed_once(read_names(path, "data.test_list"), path, lists).items():
        if key in known:
            _add(lists, key, _of_annotation(known[key]), listed)
            continue
        class_name = _class_of(listed, rules, problems)
        entry = Entry(listed.name, VideoLabel("test", int(class_name != NORMAL), class_name, ()))
        _add(lists, key, entry, listed)
        if rules.normal_annotated and class_name == NORMAL:
            text = f"{listed.name} is in the test list {path.name}, and not in the annotations"
            lists.deviations.append(Deviation("contradiction", listed.name, text, stops=True))
    problems.raise_any()
    for key, video in known.items():
        if key not in lists.entries:
            _add(lists, key, _of_annotation(video))
            text = f"{video.name} is annotated, and not in the test list {path.name}"
            lists.deviations.append(Deviation("contradiction", video.name, text, stops=True))


def _add_train_list(lists: Lists, path: Path, rules: Rules) -> None:
    problems = Problems(path)
    for key, listed in _listed_once(read_names(path, "data.train_list"), path, lists).items():
        if key in lists.entries:
            text = (
                f"{listed.name} is a test video, and in the training list {path.name}: remove it "
                "from one of the two"
            )
            lists.deviations.append(Deviation("contradiction", listed.name, text, stops=True))
            continue
        class_name = _class_of(listed, rules, problems)
        known = VideoLabel("train", int(class_name != NORMAL), class_name, ())
        _add(lists, key, Entry(listed.name, known), listed)
    problems.raise_any()


def _listed_once(names: Sequence[ListedName], path: Path, lists: Lists) -> dict[str, ListedName]:
    found: dict[str, ListedName] = {}
    for listed in names:
        if found.setdefault(folded(listed.name), listed) is not listed:
            text = f"{listed.name} stands twice in {path.name}: counted once"
            lists.deviations.append(Deviation("contradiction", listed.name, text, stops=False))
    return found


def _class_of(listed: ListedName, rules: Rules, problems: Problems) -> str:
    found = rules.class_of(listed.name) or rules.place(listed.path).class_name
    if not found:
        problems.add(None, f"{listed.path}: neither the name nor its folder says the class")
    return found


def _add(lists: Lists, key: str, entry: Entry, listed: ListedName | None = None) -> None:
    lists.entries[key] = entry
    if listed is not None and "/" in listed.path:
        lists.places[key] = listed.path
