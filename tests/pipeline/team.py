"""What a team has to share, and what of it is where."""

from __future__ import annotations

from typing import Any

import fsspec

from cache.store import Store

VIDEOS = {"Abuse001": 1, "Abuse002": 2, "Normal001": 3}
STAGES = ("decode", "forward", "score")


def named(value: Any) -> set[tuple[str, str]]:
    return {(one["stage"], one["key"]) for one in value["moved"]}


def held(store: Store) -> set[tuple[str, str]]:
    return {(stage, key) for stage in store.stages() for key in store.keys(stage)}


def objects(url: str) -> dict[str, bytes]:
    fs, root = fsspec.url_to_fs(url)
    return {path[len(root) + 1 :]: fs.cat_file(path) for path in fs.find(root)}
