"""What a store looks like on disk, and how one is made or recognised.

<store>/CACHEDIR.TAG  format.json
<store>/<stage>/<ab>/<key>/          one artifact: payload files and commit.json
<store>/<stage>/<ab>/<key>.evicted/  the record of one whose payload was given up
<store>/catalog/                     what is committed, for fast looking: rebuildable, never the truth
<store>/roots/  pins/                what runs reach, and what people want kept: see cache/roots.py
<store>/staging/                     drafts, and the finished parts of long items
<store>/claims/  quarantine/
"""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path

from cache.atomic import replace_json
from cache.errors import NotAStore, StoreTooNew

FORMAT = 1
MARK = "format.json"
SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55\n# This is a hiprobe store; backup programs may leave it out.\n"
OTHER_FOLDERS = ("catalog", "staging", "claims", "quarantine", "roots", "pins")
PARTS = "parts"
IS_KEY = re.compile(r"[0-9a-f]{64}").fullmatch


def open_root(root: Path) -> None:
    """Make a store of a folder that is missing or empty; check one that is there.

    Raises NotAStore where the folder holds something else, StoreTooNew for a newer format.
    """
    mark = root / MARK
    if not mark.exists():
        # Looked at again, because another process may make the store this very moment.
        if not _is_blank(root) and not mark.exists():
            raise NotAStore(
                f"{root} is not a hiprobe store (it has no {MARK}) and is not empty; "
                "give [run] store another folder"
            )
        root.mkdir(parents=True, exist_ok=True)
        replace_json(mark, {"hiprobe_store": FORMAT})
    check_format(root)
    _complete(root)


def check_format(root: Path) -> None:
    """Raise NotAStore where a folder is no store, StoreTooNew where it is one of a newer format."""
    mark = root / MARK
    try:
        content = mark.read_bytes()
    except FileNotFoundError as error:
        raise NotAStore(
            f"{root} is not a hiprobe store: it has no {MARK}, or is not there (is it mounted?)"
        ) from error
    except (IsADirectoryError, NotADirectoryError) as error:
        raise NotAStore(f"{mark} does not say that this is a hiprobe store: {error}") from error
    check_mark(content, str(root))


def check_mark(content: bytes, root: str) -> None:
    """The same for what stands in the mark of a store that messages call `root`."""
    try:
        version = int(json.loads(content.decode())["hiprobe_store"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotAStore(
            f"{root}/{MARK} does not say that this is a hiprobe store: {error}"
        ) from error
    if version > FORMAT:
        raise StoreTooNew(
            f"{root} has store format {version}, this hiprobe reads up to {FORMAT}; "
            "install a newer hiprobe"
        )


def is_stage(name: str) -> bool:
    """Whether a folder of this name in a store is that of a stage."""
    return name.isidentifier() and name not in OTHER_FOLDERS


def _is_blank(root: Path) -> bool:
    """Whether a store can be made here; one that is being made counts."""
    if not root.exists():
        return True
    return root.is_dir() and all(entry.name.startswith(f".{MARK}.") for entry in root.iterdir())


def _complete(root: Path) -> None:
    """Make what belongs to a store and is not there: when it is new, or was copied without."""
    try:
        for name in (*OTHER_FOLDERS, f"staging/{PARTS}"):
            (root / name).mkdir(parents=True, exist_ok=True)
        if not (root / "CACHEDIR.TAG").exists():
            (root / "CACHEDIR.TAG").write_text(SIGNATURE)
    except OSError as error:
        # A store that cannot be written can be read without them.
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
