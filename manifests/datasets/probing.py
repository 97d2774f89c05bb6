"""The probing subset: the few training videos that the probe is fitted on (METHOD.md, section 1)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from cache.errors import ConfigError
from manifests.datasets.listing import ListedVideo
from manifests.datasets.nearest import Names


def choose_probing(
    rows: Sequence[ListedVideo], *, share: float, count: int, videos: Sequence[str], seed: int
) -> frozenset[str]:
    """The video ids of the probing subset, out of the labelled training videos.

    `videos`, where given, is taken as it is. Otherwise `count` videos are taken, or, where that is
    0, `share` of the candidates (rounded); never fewer than one per label, half normal and half
    anomalous as far as they reach (an odd one is normal), and in each label in proportion to its
    classes (largest remainder, ties in the seeded order).

    Within a class the videos are ordered by sha256 of seed and name (the one in the published lists;
    the video id where there is no list), and the first are taken. So the choice depends only on
    seed, share or count, and the set of (name, label, class) of the candidates, not on sizes, dates,
    the folders of a published data set or the order of rows; and a video that is added or removed
    moves the quotas by what its share is and else leaves the subset as it was.

    Raises ConfigError for a `count` that the candidates cannot fill, and for names in `videos` that
    are unknown, not in the training split, not labelled, not readable, or the same file as another.
    """
    found = candidates(rows)
    if videos:
        _check_named(rows, videos)
        return frozenset(videos)
    if count > len(found):
        raise ConfigError(
            f"data.probing_count = {count}, but the data set has {len(found)} training videos with "
            "a label (the same file under two names counts once); ask for fewer or label more"
        )
    labels: dict[str, list[ListedVideo]] = {"normal": [], "anomalous": []}
    for row in found:
        labels["anomalous" if row.label else "normal"].append(row)
    total = max(count or round(share * len(found)), sum(1 for group in labels.values() if group))
    anomalous = min(total // 2, len(labels["anomalous"]))
    normal = min(total - anomalous, len(labels["normal"]))
    quotas = {"normal": normal, "anomalous": min(total - normal, len(labels["anomalous"]))}
    return frozenset().union(*(_draw(labels[name], quotas[name], seed) for name in labels))


def candidates(rows: Sequence[ListedVideo]) -> list[ListedVideo]:
    """The videos that may be in the probing subset, sorted by video id.

    They are of the training split, labelled and readable; no two hold the same bytes (the first by
    id stays), and none holds the bytes of a test video, which would be fitting on the test set.
    """
    return [row for row, fault in _judged(rows) if fault is None]


def passed_over(rows: Sequence[ListedVideo]) -> list[str]:
    """The labelled training videos that may not be in the probing subset, each with the reason."""
    return [f"{row.video_id!r} {fault}" for row, fault in _judged(rows) if fault is not None]


def _judged(rows: Sequence[ListedVideo]) -> list[tuple[ListedVideo, str | None]]:
    """Every labelled training video, sorted, and why it may not be in the probing subset."""
    tested, taken = _tested(rows), dict[str, str]()
    found = []
    for row in sorted(rows, key=_name):
        if row.split == "train" and row.label is not None:
            fault = _fault(row, tested, taken)
            if fault is None:
                taken[row.digest] = row.video_id
            found.append((row, fault))
    return found


def _tested(rows: Sequence[ListedVideo]) -> dict[str, str]:
    """The test videos by the digest of their file."""
    return {row.digest: row.video_id for row in rows if row.split == "test" and row.digest}


def _draw(group: list[ListedVideo], quota: int, seed: int) -> frozenset[str]:
    """Draw `quota` videos of one label, in proportion to its classes."""
    classes: dict[str, list[ListedVideo]] = {}
    for row in group:
        classes.setdefault(row.class_name, []).append(row)
    quotas = _apportion({name: len(rows) for name, rows in classes.items()}, quota, seed)
    return frozenset(
        row.video_id
        for name, rows in classes.items()
        for row in sorted(rows, key=lambda r: _order(seed, _name(r)))[: quotas[name]]
    )


def _apportion(sizes: Mapping[str, int], quota: int, seed: int) -> dict[str, int]:
    """Divide `quota` in proportion to `sizes` by largest remainder; none gets more than its size."""
    whole = max(sum(sizes.values()), 1)
    shares = {name: divmod(quota * size, whole) for name, size in sizes.items()}
    left = quota - sum(share for share, _ in shares.values())
    ranked = sorted(shares, key=lambda name: (-shares[name][1], _order(seed, name)))
    extra = Counter(ranked[:left])
    return {name: share + extra[name] for name, (share, _) in shares.items()}


def _name(row: ListedVideo) -> str:
    """What a video is drawn by."""
    return row.name or row.video_id


def _order(seed: int, name: str) -> bytes:
    """A name's place in the random order of a seed."""
    return hashlib.sha256(f"{seed}\n{name}".encode()).digest()


def _check_named(rows: Sequence[ListedVideo], videos: Sequence[str]) -> None:
    known = {row.video_id: row for row in rows}
    tested = _tested(rows)
    near = Names(known)
    taken: dict[str, str] = {}
    wrong = []
    for video_id in videos:
        row = known.get(video_id)
        if row is None:
            wrong.append(f"{video_id!r} is not in the data set{near.hint(video_id)}")
            continue
        fault = _fault(row, tested, taken)
        if fault:
            wrong.append(f"{video_id!r} {fault}")
        taken.setdefault(row.digest, video_id)
    if wrong:
        raise ConfigError(
            "data.probing_videos must name training videos with a label: " + "; ".join(wrong)
        )


def _fault(row: ListedVideo, tested: Mapping[str, str], taken: Mapping[str, str]) -> str | None:
    """Why a video may not be in the probing subset."""
    if row.split == "test":
        return "is a test video: nothing is ever fitted on the test set"
    if row.split != "train":
        return "has no split; give it the split train"
    if row.label is None:
        return "has no label"
    if not row.digest:
        return "cannot be read"
    if row.digest in tested:
        return f"is the same file as the test video {tested[row.digest]!r}"
    if row.digest in taken:
        return f"is the same file as {taken[row.digest]!r}"
    return None
