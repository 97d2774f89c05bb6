"""What `hiprobe cache verify` and `repair` do and say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cache.store import Store
from cache.verify import verify


def verify_store(store: Store, *, full: bool, repair: bool) -> dict[str, Any]:
    """Look at every artifact; with `repair`, set the bad ones aside."""
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
