"""The files of a folder against the lists of a published data set."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cache.errors import ConfigError
from manifests.datasets.contract import (
    Deviation,
    Entry,
    Listing,
    SourceFile,
    Sources,
    VideoLabel,
    video_id_of,
)
from manifests.datasets.lists import Lists, Rules, doubt
from manifests.datasets.names import bare_name, folded
from manifests.datasets.nearest import Names

HINTED = 20
"""Up to so many missing videos the file with the nearest name is looked for."""
LIKENESS = 0.9
"""How alike that name must be: names of one class differ in a number only."""


def folder_of(sources: Sources) -> Path:
    """The folder of the videos; raises ConfigError where there is none."""
    if sources.root is None:
        raise ConfigError("data.videos is empty: give the folder of the videos")
    return sources.root


def compare(
    files: Sequence[SourceFile],
    warnings: tuple[str, ...],
    lists: Lists,
    rules: Rules,
    *,
    allow_missing: bool,
) -> Listing:
    """Match files with entries by bare name, wherever they lie; say all that does not fit.

    Case and a second suffix do not count. Of several files for one name, the one whose path ends
    like the list's is used, else one in a folder of its class, else the first by path. Files that
    no list names are what `rules` makes of them. `lists.deviations` are passed on.
    """
    found = _Comparison(lists, rules)
    named: dict[str, list[SourceFile]] = {}
    others: dict[str, list[SourceFile]] = {}
    for file in files:
        key = folded(bare_name(file.path))
        (named if key in lists.entries else others).setdefault(key, []).append(file)
    for key, candidates in named.items():
        found.use_listed(key, candidates)
    for candidates in others.values():
        found.use_unlisted(candidates)
    absent = [entry for key, entry in lists.entries.items() if key not in named]
    found.miss(absent, allow_missing)
    found.count()
    return Listing(
        files=tuple(sorted(found.files, key=lambda file: file.video_id)),
        labels={name: entry.known for name, entry in sorted(found.entries.items())},
        warnings=warnings,
        entries=found.entries,
        absent=tuple(sorted(absent, key=lambda entry: entry.name)),
        deviations=tuple(sorted(found.deviations, key=lambda d: (d.kind, d.subject, d.text))),
        official=rules.official,
    )


class _Comparison:
    """What the comparison has found so far."""

    def __init__(self, lists: Lists, rules: Rules) -> None:
        self.files: list[SourceFile] = []
        self.entries: dict[str, Entry] = {}
        self.deviations: list[Deviation] = [*lists.deviations]
        self._lists, self._rules = lists, rules
        self._extra: dict[str, str] = {}
        """Path of the files that are left out, by their bare name."""

    def use_listed(self, key: str, candidates: list[SourceFile]) -> None:
        entry = self._lists.entries[key]
        place = folded(self._lists.places.get(key, "/"))

        def rank(file: SourceFile) -> tuple[bool, bool, bool, str]:
            path = "/" + folded(file.video_id)
            told = self._rules.place(file.path)
            fits = any(told) and doubt(entry, file.path, self._rules) is None
            return not path.endswith("/" + place), not fits, _misspelt(file, entry.name), file.path

        self._use(entry, sorted(candidates, key=rank) if len(candidates) > 1 else candidates)

    def use_unlisted(self, candidates: list[SourceFile]) -> None:
        """Take the first of the files of one name that the data set can hold."""
        fitting: list[tuple[SourceFile, VideoLabel]] = []
        for file in candidates:
            name = bare_name(file.path)
            said = self._rules.unlisted(file.path, name)
            if isinstance(said, VideoLabel):
                fitting.append((file, said))
            else:
                self.deviations.append(said)
                self._extra.setdefault(name, file.path)
        if fitting:
            fitting.sort(key=lambda pair: pair[0].path)
            first, known = fitting[0]
            entry = Entry(video_id_of(bare_name(first.path)), known)
            self._use(self._lists.measured(entry, self._rules.fps), [file for file, _ in fitting])

    def _use(self, entry: Entry, candidates: Sequence[SourceFile]) -> None:
        """Use the first of the files of one name, and say what is odd about them."""
        file, *others = candidates
        self.files.append(file)
        self.entries[file.video_id] = entry
        for other in others:
            text = f"{entry.name}: {file.path!r} is used, {other.path!r} is left out"
            self.deviations.append(Deviation("duplicate", entry.name, text, stops=False))
        if _misspelt(file, entry.name):
            text = f"{entry.name} is written {posixpath.basename(file.path)!r}: taken as the same"
            self.deviations.append(Deviation("spelling", entry.name, text, stops=False))
        against = doubt(entry, file.path, self._rules)
        if against is not None:
            self.deviations.append(against)

    def miss(self, absent: Sequence[Entry], allowed: bool) -> None:
        """Say which videos of the lists are not there."""
        near = Names(self._extra if len(absent) <= HINTED else (), LIKENESS)
        for entry in absent:
            like = near.nearest(entry.name)
            hint = "" if like is None else f"; the nearest name is that of {self._extra[like]!r}"
            said = f"{entry.known.split}, {entry.known.class_name}"
            text = f"{entry.name} ({said}) is not there{hint}"
            self.deviations.append(Deviation("missing", entry.name, text, not allowed))

    def count(self) -> None:
        """Say where the numbers are not those of the published data set."""
        official = self._rules.official
        splits = {split for split, _ in official}
        found = Counter((e.known.split, e.known.class_name) for e in self.entries.values())
        for group in sorted({*official, *found}):
            expected = official.get(group, 0)
            if group[0] in splits and found[group] != expected:
                subject = f"{group[0]} {group[1]}"
                here = f"{found[group]} video{'' if found[group] == 1 else 's'}"
                text = f"{subject}: {here}, {expected} in the published data set"
                self.deviations.append(Deviation("count", subject, text, stops=False))


def _misspelt(file: SourceFile, name: str) -> bool:
    """Whether a file is not called exactly like the name, with a suffix in lower case."""
    called = posixpath.basename(file.path)
    suffix = called.removeprefix(name)
    return suffix == called or suffix != suffix.lower() or video_id_of(called) != name
