"""What `hiprobe cache ls` and `du` say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cache.catalog import load_catalog
from cache.store import Store
from pipeline.progress import size
from pipeline.view import table


def list_artifacts(store: Store, stage: str) -> list[dict[str, Any]]:
    """Stage, key, content digest, rows and bytes of every artifact."""
    stages = [stage] if stage else store.stages()
    return [
        {"stage": name, "key": key, "digest": digest, "rows": index.sizes[key][0], "bytes": index.sizes[key][1]}
        for name, index in load_catalog(store, stages).items()
        for key, digest in sorted(index.digests.items())
    ]  # fmt: skip


def list_text(rows: list[dict[str, Any]]) -> str:
    """The list as a table."""
    shown = [
        [r["stage"], r["key"][:16], r["digest"][:16], str(r["rows"]), size(r["bytes"])]
        for r in rows
    ]
    return table(["stage", "key", "digest", "rows", "bytes"], shown)


def disk_usage(store: Store) -> dict[str, Any]:
    """Artifacts and payload bytes by stage, and what is free."""
    stages = {
        name: {"artifacts": len(index.digests), "bytes": sum(b for _, b in index.sizes.values())}
        for name, index in load_catalog(store, store.stages()).items()
    }
    return {"stages": stages, "free_bytes": store.free_bytes()}


def usage_text(value: Mapping[str, Any]) -> str:
    """The usage as a table."""
    rows = [[n, str(u["artifacts"]), size(u["bytes"])] for n, u in value["stages"].items()]
    total = sum(u["bytes"] for u in value["stages"].values())
    rows.append(["all", str(sum(u["artifacts"] for u in value["stages"].values())), size(total)])
    return f"{table(['stage', 'artifacts', 'bytes'], rows)}\nfree: {size(value['free_bytes'])}"
