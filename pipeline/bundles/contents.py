"""A bundle as it lies on disk: one folder with some layers of hidden states and all around them.

<bundle>/README.md  bundle.json  SHA256SUMS  run.toml  dataset.json
<bundle>/videos.parquet  annotations.parquet  segments.parquet
<bundle>/states.zarr/<array>  heads.zarr/<array>    one array per video, as cache/shards.py writes it
<bundle>/artifacts/                                 a store: what a run needs besides
<bundle>/scorer/                                    of a run that was given one of another run

What comes from others is data: nothing in it is executed, no name in it leads out of the folder, and
every byte is checked before it becomes a number: the files of the first two lines when the bundle is
opened, those of artifacts/ against their records and the arrays against their check sums when they
are read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cache.atomic import walk
from cache.digest import file_digest
from cache.errors import ConfigError, DamagedArtifact, StoreTooNew
from cache.ranges import ranges_of

FORMAT = 1
MARK, SUMS, CONFIG, DATASET_FILE, README = (
    "bundle.json", "SHA256SUMS", "run.toml", "dataset.json", "README.md",
)  # fmt: skip
ARTIFACTS, SCORER = "artifacts", "scorer"
STATES, HEADS = "states.zarr", "heads.zarr"
TEXT_FIELDS = ("run", "backbone", "listing")

Pair = tuple[int, int]
"""(layer, head), both counted from 0."""
_LONGEST = 200
"""Bytes of the name of an array; a file system takes 255."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was opened."""

    path: Path
    run: str
    """The name of the run that it was made of."""
    backbone: str
    """Identity of the backbone that made the hidden states."""
    listing: str
    """Digest of the data set, as it enters the key of the index."""
    layers: tuple[int, ...]
    heads: tuple[Pair, ...]

    @property
    def artifacts(self) -> Path:
        """The folder of its store."""
        return self.path / ARTIFACTS

    @property
    def what(self) -> str:
        """What it holds of the hidden states, in words."""
        return held_text(self.layers, self.heads)


def held_text(layers: tuple[int, ...], heads: tuple[Pair, ...]) -> str:
    """Layers and heads in words: "layer 20", "layers 19 to 21 and head [3, 1]"."""
    found = []
    if layers:
        found.append(f"layer{'s' * (len(layers) > 1)} {ranges_of(layers)}")
    if heads:
        named = ", ".join(str(list(pair)) for pair in heads[:8])
        more = f" and {len(heads) - 8} more" if len(heads) > 8 else ""
        found.append(f"head{'s' * (len(heads) > 1)} {named}{more}")
    return " and ".join(found)


def array_name(video_id: str) -> str:
    """The name of the array of a video: its id, where that is a plain name; never two the same.

    What is more than letters, digits, "_", "-" and "." is written as in a URL, "/" too: so no name
    leads out of the group, is hidden, or means something to Zarr.
    """
    name = quote(video_id, safe="")
    if name.startswith((".", "__")):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if len(name) > _LONGEST:
        digest = hashlib.sha256(video_id.encode("utf-8", "surrogatepass")).hexdigest()
        name = f"{name[: _LONGEST - 65]}~{digest}"
    return name


def open_bundle(path: Path) -> Bundle:
    """Open a bundle: all of it is there, and what describes it is what was written.

    Raises ConfigError where the folder is no bundle, StoreTooNew for a newer format, DamagedArtifact
    where a file is missing, is no plain file or not what SHA256SUMS says.
    """
    said = _described(path)
    sums, sizes = read_sums(path), _plain_files(path)
    missing = sorted(sums.keys() - sizes.keys())
    if missing:
        raise _damaged(path, f"{missing[0]} is missing or no plain file ({len(missing)} such)")
    found = (len(sums), sum(sizes[name] for name in sums if name != MARK))
    if found != (said["files"], said["bytes"]):
        raise _damaged(
            path,
            f"it has {found[0]:,} files of {found[1]:,} bytes, it was written with "
            f"{said['files']:,} of {said['bytes']:,}",
        )
    for name, digest in sums.items():
        if "/" not in name and file_digest(path / name) != digest:
            raise _damaged(path, f"{name} does not have the digest in {SUMS}")
    return _bundle(path, said)


def read_dataset(bundle: Bundle) -> dict[str, Any]:
    """dataset.json: the listing that the index was made of, and what else is known of the videos."""
    found: dict[str, Any] = json.loads((bundle.path / DATASET_FILE).read_text(encoding="ascii"))
    return found


def read_sums(path: Path) -> dict[str, str]:
    """sha256 by name, of every file of a bundle; raises DamagedArtifact for anything else."""
    sums: dict[str, str] = {}
    try:
        lines = (path / SUMS).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, f"{SUMS} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(r"([0-9a-f]{64})  ([^\\]+)", line)
        name = match[2] if match else ""
        if match is None or name in sums or {"", ".", ".."} & set(name.split("/")):
            raise _damaged(path, f"line {number} of {SUMS} names no file of it")
        sums[name] = match[1]
    if MARK not in sums:
        raise _damaged(path, f"{SUMS} does not name {MARK}")
    return sums


def check_bytes(path: Path, digests: Mapping[str, str]) -> list[str]:
    """Read every byte of every listed file; what is wrong, one line per file."""
    wrong = []
    for name, digest in digests.items():
        try:
            if file_digest(path / name) != digest:
                wrong.append(f"{name} does not have the digest in {SUMS}")
        except OSError as error:
            wrong.append(f"{name} cannot be read: {error.strerror}")
    return wrong


def _described(path: Path) -> dict[str, Any]:
    try:
        said: dict[str, Any] = json.loads((path / MARK).read_text(encoding="ascii"))
        version = int(said["hiprobe_bundle"])
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(
            f"{path} is not a bundle: it has no {MARK}; `hiprobe cache export run.toml --out DIR` "
            "makes one"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, f"{MARK} cannot be read: {error}") from error
    if version > FORMAT:
        raise StoreTooNew(
            f"{path} has bundle format {version}, this hiprobe reads up to {FORMAT}; install a "
            "newer hiprobe"
        )
    return said


def _bundle(path: Path, said: Mapping[str, Any]) -> Bundle:
    try:
        run, backbone, listing = (said[name] for name in TEXT_FIELDS)
        if not all(isinstance(text, str) for text in (run, backbone, listing)):
            raise TypeError(f"{', '.join(TEXT_FIELDS)} must be text")
        layers = tuple(int(layer) for layer in said["layers"])
        heads = tuple((int(layer), int(head)) for layer, head in said["heads"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"{MARK} lacks or garbles {error}") from error
    return Bundle(path, run, backbone, listing, layers, heads)


def _plain_files(path: Path) -> dict[str, int]:
    """Size by name of the plain files below a folder; links are none, and are not followed."""
    return {
        Path(entry.path).relative_to(path).as_posix(): entry.stat(follow_symlinks=False).st_size
        for entry in walk(path)
        if entry.is_file(follow_symlinks=False)
    }


def _damaged(path: Path, why: str) -> DamagedArtifact:
    return DamagedArtifact(
        f"the bundle {path} is not whole: {why}; copy it again from where it came from "
        f"(`sha256sum -c {SUMS}` says what differs)"
    )
