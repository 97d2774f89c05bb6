"""What the `hiprobe cache` commands do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache.catalog import load_catalog
from cache.store import Store
from cache.verify import verify
from pipeline.progress import size
from pipeline.view import table


def list_artifacts(root: Path, stage: str) -> list[dict[str, Any]]:
    """Stage, key, content digest, rows and bytes of every artifact."""
    store = Store.open(root)
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


def disk_usage(root: Path) -> dict[str, Any]:
    """Artifacts and payload bytes by stage, and what is free."""
    store = Store.open(root)
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


def verify_store(root: Path, *, full: bool, repair: bool) -> dict[str, Any]:
    """Look at every artifact; with `repair`, set the bad ones aside."""
    store = Store.open(root)
    seen = 0

    def count(artifact: object) -> None:
        nonlocal seen
        seen += 1

    findings = []
    for finding in verify(store, full=full, seen=count):
        if repair:
            store.quarantine(finding.stage, finding.key)
        findings.append(
            {"stage": finding.stage, "key": finding.key, "message": finding.message, "set_aside": repair}
        )  # fmt: skip
    return {"artifacts": seen, "full": full, "findings": findings}


def verify_text(value: Mapping[str, Any]) -> str:
    """What was found, and what to do."""
    lines = [f"{f['stage']}/{f['key']}: {f['message']}" for f in value["findings"]]
    bad = len(lines)
    if bad and value["findings"][0]["set_aside"]:
        lines.append(f"{bad} artifacts were set aside; the next run makes them again")
    elif bad:
        lines.append(f"{bad} artifacts are damaged: `hiprobe cache repair` sets them aside")
    kind = "every byte" if value["full"] else "records, files and sizes"
    lines.append(f"{value['artifacts']} artifacts looked at ({kind}), {bad} damaged")
    return "\n".join(lines)
