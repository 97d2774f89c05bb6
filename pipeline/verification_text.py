"""What `hiprobe cache verify` and `repair` say, in words."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.progress import size


def verify_text(value: Mapping[str, Any]) -> str:
    """What was found, what to do, how far it has come, and what was not looked at."""
    lines = [_finding(finding) for finding in value["findings"]]
    lines += [f"{f['path']}: {f['message']}" for f in value["files"]]
    lines += [f"stray: {s['path']}: {s['message']}" for s in value["strays"]]
    lines += _deeds(value)
    kind = "every byte" if value["full"] else "records, files and sizes"
    some = f" of {value['of']}" if value["artifacts"] < value["of"] else ""
    bad = sum(finding["damaged"] for finding in value["findings"])
    lines.append(f"{value['artifacts']}{some} artifacts looked at ({kind}), {bad} damaged")
    if value["covered"] is not None:
        lines.append(_covered(value["covered"], value["bytes"]))
    lines += [f"not looked at: {text}" for text in value["not_looked_at"]]
    return "\n".join(lines)


def _finding(finding: Mapping[str, Any]) -> str:
    where = f" in {finding['store']}" if "store" in finding else ""
    kind = "" if finding["damaged"] else "not judged: "
    return f"{finding['stage']}/{finding['key']}{where}: {kind}{finding['message']}"


def _deeds(value: Mapping[str, Any]) -> Iterator[str]:
    damaged = [finding for finding in value["findings"] if finding["damaged"]]
    aside = sum(finding["set_aside"] for finding in damaged)
    if aside:
        yield f"{aside} artifacts were set aside; the next run makes them again"
    if len(damaged) > aside:
        todo = "stay" if value["repair"] else "are damaged: `hiprobe cache repair` sets them aside"
        yield f"{len(damaged) - aside} artifacts {todo}"
    files = sum(file["set_aside"] for file in value["files"])
    if files:
        yield f"{files} results were set aside; the next run writes them anew"


def _covered(covered: Mapping[str, Any], count: int) -> str:
    since = covered["since"]
    day = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(since)) if since is not None else ""
    if covered["read"] == covered["of"] and day:
        return f"{size(count)} read now; every artifact was read in full since {day}"
    some = f"{covered['read']} of {covered['of']} artifacts were read in full"
    return f"{size(count)} read now; {some}{f' since {day}' if day else ''}"
