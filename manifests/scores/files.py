"""One door to every form of scores: the ending of the file says which it is."""

from __future__ import annotations

from pathlib import Path

from cache.digest import file_digest
from cache.errors import ConfigError
from cache.keys import hash_of
from manifests.scores.arrays import read_archive, read_array, read_folder
from manifests.scores.contract import ScoreFile, VideoScores
from manifests.scores.json_scores import read_json_scores
from manifests.scores.tables import read_csv, read_parquet

_TABLES = {
    ".json": read_json_scores,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
}
"""Forms that can have columns."""

SUFFIXES = (*_TABLES, ".npy", ".npz")


def read_scores(path: Path, column: str = "") -> ScoreFile:
    """Read the scores of a file, or of a folder of .npy files.

    `column` names the scores of a table. Raises ConfigError that names the file and the video for
    whatever is not a score, and for a form that is not known. Nothing is ever unpickled.
    """
    suffix = path.suffix.lower()
    if not path.exists():
        raise ConfigError(f"{path} does not exist; expected a file or folder of scores")
    if path.is_dir():
        form, videos = "folder of .npy", read_folder(path)
    elif suffix == ".npy":
        _refuse(column, path)
        return ScoreFile(path, "one .npy for all test videos", {}, read_array(path))
    elif suffix == ".npz":
        form, videos = ".npz, one array per video", read_archive(path)
    elif suffix in _TABLES:
        return ScoreFile(path, *_read_table(path, column))
    else:
        raise ConfigError(
            f"{path}: scores are read from files that end in {', '.join(SUFFIXES)}, and from "
            "folders of .npy"
        )
    _refuse(column, path)
    return ScoreFile(path, form, videos)


def digest_of(path: Path) -> str:
    """sha256, in hex, of a file, or of the names and digests of all files in a folder."""
    if not path.is_dir():
        return file_digest(path)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return hash_of([(p.relative_to(path).as_posix(), file_digest(p)) for p in files])


def _read_table(path: Path, column: str) -> tuple[str, dict[str, VideoScores]]:
    try:
        return _TABLES[path.suffix.lower()](path, column)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _refuse(column: str, path: Path) -> None:
    if column:
        raise ConfigError(f"--column {column}: {path} has no columns with names")
