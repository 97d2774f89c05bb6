"""What `hiprobe cache check-bundle` says: whether every byte of a bundle is what was written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.bundles.contents import SUMS, check_bytes, open_bundle, read_sums
from pipeline.progress import size


def check_value(path: Path) -> dict[str, Any]:
    """What a bundle is, and what is wrong with it; raises what `open_bundle` raises."""
    bundle = open_bundle(path)
    sums = read_sums(path)
    damaged = check_bytes(path, sums)
    return {
        "bundle": str(path),
        "run": bundle.run,
        "holds": bundle.what,
        "backbone": bundle.backbone,
        "files": len(sums),
        "bytes": sum((path / name).stat().st_size for name in (*sums, SUMS)),
        "damaged": damaged,
    }


def check_text(value: Mapping[str, Any]) -> str:
    """The same for a person."""
    head = (
        f"{value['bundle']}: {value['holds']} of the run {value['run']}, {value['files']:,} files, "
        f"{size(value['bytes'])}"
    )
    damaged = [f"DAMAGED {line}" for line in value["damaged"]]
    return "\n".join([head, *(damaged or [f"every file has the digest in {SUMS}"])])
