"""Which video of a data set a name in a file of scores means."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.errors import ConfigError
from manifests.datasets.contract import video_id_of
from manifests.datasets.nearest import Names

_SHOWN = 10
"""How many names an error shows before it only counts."""

_TAG = re.compile(r"[_.-]+\w+")
"""What tools put behind a name: `__0` for a crop, `_pred`, `__9_gt`."""


@dataclass(frozen=True, slots=True)
class Matching:
    """The videos that the names of a file mean."""

    known: Mapping[str, str]
    """Name as given -> name in the data set."""
    tag: str = ""
    """What every name as given has behind the video's."""


def match_names(given: Iterable[str], known: Sequence[str], path: Path) -> Matching:
    """Find the video of every name of a file of scores.

    Folders, a video's suffix and case count only where the rest is not enough. A tag such as `__0`
    behind the name is left out where all names of the file have the same one. Raises ConfigError,
    with the nearest known name, for names of no video or of several, and for two names of one.
    """
    given, index = list(given), NameIndex(known)
    tag = "" if any(index.find(name) for name in given) else _tag_of(given, index)
    found = {name: index.find(_untagged(name, tag)) for name in given}
    _refuse_unknown([name for name, videos in found.items() if not videos], index, path)
    for name, videos in found.items():
        if len(videos) > 1:
            raise ConfigError(
                f"{path}: {name!r} can mean {' and '.join(map(repr, videos[:3]))}; give its path "
                "from the folder of the videos on"
            )
    matched = {name: videos[0] for name, videos in found.items()}
    _refuse_doubles(matched, path)
    return Matching(matched, tag)


class NameIndex:
    """The names of a data set, to be found by their last part."""

    def __init__(self, known: Sequence[str]) -> None:
        self.known = known
        self._by_bare: dict[str, list[str]] = defaultdict(list)
        for name in known:
            self._by_bare[_bare(_plain(name))].append(name)

    def find(self, given: str) -> list[str]:
        """The names that this one can mean; the fewest that folders and case leave."""
        plain = _plain(given)
        found = self._by_bare.get(_bare(plain), [])
        for closer in (
            [name for name in found if _one_in_other(_plain(name), plain)],
            [name for name in found if _plain(name) == plain],
            [name for name in found if _stem(name) == _stem(given)],
        ):
            found = closer if closer and len(found) > 1 else found
        return found

    def tags(self, given: str) -> set[str]:
        """What stands behind the name of a video at the start of a name's last part."""
        bare = _stem(given).rpartition("/")[2]
        cuts = (bare[at:] for at in range(1, len(bare)) if _TAG.fullmatch(bare, at))
        return {cut for cut in cuts if bare[: -len(cut)].casefold() in self._by_bare}


def _stem(name: str) -> str:
    """A name with forward slashes, without the suffix of a video."""
    return video_id_of(name.strip().replace("\\", "/"))


def _plain(name: str) -> str:
    return _stem(name).casefold()


def _bare(plain: str) -> str:
    return plain.rpartition("/")[2]


def _one_in_other(one: str, two: str) -> bool:
    """Whether the parts of one path are the last parts of the other."""
    return f"/{one}".endswith(f"/{two}") or f"/{two}".endswith(f"/{one}")


def _untagged(name: str, tag: str) -> str:
    return _stem(name)[: -len(tag)] if tag else name


def _tag_of(given: Sequence[str], index: NameIndex) -> str:
    """The one tag that stands behind every name; empty where there is none, or more than one."""
    common: set[str] = set.intersection(*(index.tags(name) for name in given)) if given else set()
    return common.pop() if len(common) == 1 else ""


def _refuse_unknown(names: Sequence[str], index: NameIndex, path: Path) -> None:
    if not names:
        return
    nearest = Names([_stem(name).rpartition("/")[2] for name in index.known])
    shown = "; ".join(
        f"{name!r}{nearest.hint(_stem(name).rpartition('/')[2])}" for name in names[:_SHOWN]
    )
    rest = f"; and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    raise ConfigError(
        f"{path}: names of no video that the lists of the data set name ({len(names)}): "
        f"{shown}{rest}; correct or remove them, or give the list that names them"
    )


def _refuse_doubles(matched: Mapping[str, str], path: Path) -> None:
    first: dict[str, str] = {}
    for name, video in matched.items():
        if video in first:
            raise ConfigError(
                f"{path}: {first[video]!r} and {name!r} are both scores of {video!r}; keep one"
            )
        first[video] = name
