"""Which of several lists of names is the training list, and which the test list."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from cache.errors import ConfigError
from manifests.datasets.annotation_lines import read_annotations
from manifests.datasets.names import folded
from manifests.datasets.split_lists import read_names

ANNOTATED = 0.25
"""Share of annotated names from which a list is a test list: of XD-Violence's it is 500 / 800."""
STRAY = 0.05
"""Share up to which it is a training list, into which some test videos may have slipped."""

_SAID = re.compile(r"(?<![a-z])(train|test)", re.IGNORECASE)


def tell_splits(
    lists: Sequence[str], annotations: str, classes: Collection[str], published: str
) -> Mapping[str, str]:
    """The list of each split (keys train and test), told by what they hold: test names are annotated.

    A name of a file that says train or test is not enough by itself, and must not say otherwise.
    Raises ConfigError where a list is neither, where two are the same split, and where one cannot
    be read.
    """
    annotated = {
        folded(video.name) for video in read_annotations(Path(annotations), published, classes)
    }
    found: dict[str, str] = {}
    for path in lists:
        names = {folded(listed.name) for listed in read_names(Path(path), "--splits")}
        split = _split_of(path, len(names & annotated), len(names))
        if found.setdefault(split, path) != path:
            raise ConfigError(
                f"--splits: {found[split]} and {path} are both lists of {split} videos; give one "
                f"of each, or use --train-list and --test-list"
            )
    return found


def _split_of(path: str, annotated: int, names: int) -> str:
    share = annotated / names
    told = "test" if share >= ANNOTATED else "train" if share <= STRAY else ""
    words = {word.lower() for word in _SAID.findall(Path(path).stem)}
    said = words.pop() if len(words) == 1 else ""
    if (told or said) and told in ("", said or told):
        return told or said
    raise ConfigError(
        f"--splits {path}: {annotated} of its {names} names are annotated, so its content says "
        f"{told or 'neither train nor test'}, and its name {said or 'neither'}; give it as "
        "--train-list or --test-list"
    )
