"""Check sums of the files of a folder, in a file that `sha256sum -c` reads.

Results lie outside the store, and no record lists them: a bit that flips in one would be another
figure. So who writes a file there notes its sha256 beside it, right after, and who reads it compares.
A file that was written and not noted (the process was killed between) does not agree, either.

A folder with no SHA256SUMS at all is one that an older hiprobe wrote, or somebody else: nothing is
known of its files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from cache.atomic import replace_bytes
from cache.digest import file_digest
from cache.errors import DamagedArtifact

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  ([^/\\]+)")


def note(path: Path) -> None:
    """Write down the sha256 of a file that was just written."""
    _save(path.parent, {**_read(path.parent)[0], path.name: file_digest(path)})


def forget(path: Path) -> None:
    """Drop what is noted of a file that was taken away."""
    known = _read(path.parent)[0]
    if known.pop(path.name, None) is not None:
        _save(path.parent, known)


def knows(path: Path) -> bool:
    """Whether anything was noted of a file, or of the files in a folder."""
    return path.name in _read(path.parent)[0] or (path / SUMS).exists()


def is_noted(path: Path) -> bool:
    """Whether a file is what was noted of it."""
    digest = _read(path.parent)[0].get(path.name)
    return digest is not None and _agrees(path, digest)


def is_sound(path: Path) -> bool:
    """The same, but a file in a folder without any check sums is taken as it is."""
    return not (path.parent / SUMS).exists() or is_noted(path)


def require(path: Path) -> Path:
    """The path of a file that is sound. Raises DamagedArtifact for one that is not."""
    if not is_sound(path):
        raise DamagedArtifact(
            f"{path.name} in {path.parent} does not have the sha256 in {SUMS} beside it: it is "
            "damaged, or a run was stopped while it was written; run again, which writes it anew"
        )
    return path


def mend(folder: Path) -> None:
    """Drop the lines of the check sums of a folder that are none."""
    _save(folder, _read(folder)[0])


def problems(folder: Path, ours: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(name, what is wrong) in a folder with check sums; `ours` says of names what they are.

    A file that is ours and has no check sum is one, too; those of others are left alone.
    """
    known, bad = _read(folder)
    for line in bad:
        yield SUMS, f"{line!r} is no check sum and a name"
    for name, digest in sorted(known.items()):
        if not (folder / name).is_file():
            yield name, f"{SUMS} lists it, and it is not there"
        elif not _agrees(folder / name, digest):
            yield name, f"it does not have the sha256 in {SUMS}"
    for name in sorted(ours.keys() - known.keys()):
        if (folder / name).is_file():
            yield name, f"{ours[name]} without a check sum in {SUMS}"


def _agrees(path: Path, digest: str) -> bool:
    try:
        return file_digest(path) == digest
    except OSError:
        return False


def _read(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Digest by name, and the lines that are none."""
    try:
        text = (folder / SUMS).read_bytes().decode("utf-8", errors="backslashreplace")
    except FileNotFoundError:
        return {}, []
    lines = text.split("\n")
    found = [(line, _LINE.fullmatch(line)) for line in lines[:-1]]
    bad = [line for line, match in found if match is None] + ([lines[-1]] if lines[-1] else [])
    return {match[2]: match[1] for _, match in found if match is not None}, bad


def _save(folder: Path, known: Mapping[str, str]) -> None:
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(known.items()))
    replace_bytes(folder / SUMS, text.encode("utf-8"))
