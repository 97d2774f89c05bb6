"""What a newer hiprobe wrote is refused by its number and left alone; what an older one wrote is read."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cache.catalog import load_catalog
from cache.keys import hash_of
from cache.store import Store
from manifests.schema import SEGMENTS
from manifests.table import arrow_schema
from tests.cache.stores import forge, plain_json, record_of, sha
from tests.conftest import Called, Demo
from tests.faults.test_interruptions import digests

Hiprobe = Callable[..., Called]


def first(demo: Demo, pattern: str) -> Path:
    return sorted((demo.folder / "store").glob(pattern))[0]


def rewritten(artifact: Path, name: str, content: bytes) -> None:
    """Put a file into an artifact as if it had been committed with it."""
    (artifact / name).write_bytes(content)
    files = record_of(artifact)["files"]
    for entry in files:
        if entry["path"] == name:
            entry |= {"bytes": len(content), "sha256": sha(content)}
    said = [[e["path"], e["logical"] or e["sha256"]] for e in files if not e["auxiliary"]]
    forge(artifact, files=files, digest=sha(plain_json(sorted(said))))


def test_a_newer_store_is_refused(own_demo: Demo, hiprobe: Hiprobe) -> None:
    (own_demo.folder / "store" / "format.json").write_text('{"hiprobe_store":2}\n')
    for words in (["run", "--quiet"], ["plan"], ["status"], ["cache", "verify"], ["cache", "ls"]):
        called = hiprobe(*words, own_demo.config)
        assert called.code == 2, words
        assert "store format 2, this hiprobe reads up to 1; install a newer" in called.out


def test_a_newer_record_is_refused_and_not_set_aside(own_demo: Demo, hiprobe: Hiprobe) -> None:
    path = first(own_demo, "score/*/*")
    forge(path, format=2)
    shutil.rmtree(own_demo.folder / "store" / "catalog")
    (own_demo.folder / "store" / "catalog").mkdir()
    called = hiprobe("run", own_demo.config, "--quiet")
    assert called.code == 2
    assert "commit record of format 2, this hiprobe reads up to 1" in called.out
    repaired = hiprobe("cache", "repair", own_demo.config, "--full")
    assert repaired.code == 5
    assert "not judged" in repaired.out
    assert "install a newer hiprobe" in repaired.out
    assert path.exists()


def test_a_newer_table_is_refused_by_name_and_not_set_aside(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    import io

    import pyarrow.parquet as pq

    path = first(own_demo, "sample/*/*")
    newer = replace(SEGMENTS, version=SEGMENTS.version + 1)
    table = pq.ParquetFile(path / "segments.parquet").read()
    table = table.replace_schema_metadata(arrow_schema(newer).metadata)
    out = io.BytesIO()
    pq.write_table(table, out)
    rewritten(path, "segments.parquet", out.getvalue())
    for stage in ("score", "fit"):
        shutil.rmtree(own_demo.folder / "store" / stage)
    called = hiprobe("run", own_demo.config, "--quiet")
    assert called.code == 2
    assert f"segments has version {newer.version}, this hiprobe reads up to" in called.out
    assert hiprobe("cache", "verify", own_demo.config, "--full").code == 0
    assert path.exists()


def test_a_newer_array_is_refused_and_not_set_aside(own_demo: Demo, hiprobe: Hiprobe) -> None:
    path = first(own_demo, "forward/*/*")
    document = json.loads((path / "states.zarr/zarr.json").read_text())
    said = {**document["attributes"], "format": 2}
    rest = plain_json({name: value for name, value in said.items() if name != "crc32"})
    document["attributes"] = {**said, "crc32": f"{zlib.crc32(rest):08x}"}
    rewritten(path, "states.zarr/zarr.json", json.dumps(document).encode())
    shutil.rmtree(own_demo.folder / "store" / "score")
    called = hiprobe("run", own_demo.config, "--quiet")
    assert called.code == 2
    assert "states.zarr: zarr.json has format 2, this hiprobe reads up to 1" in called.out
    assert path.exists()


def test_a_newer_root_is_told_and_stops_only_who_would_delete(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    path = first(own_demo, "roots/*.txt")
    line, _, body = path.read_bytes().partition(b"\n")
    head = {**json.loads(line), "format": 2}
    del head["record"]
    path.write_bytes(plain_json({**head, "record": hash_of(head)}) + b"\n" + body)
    told = hiprobe("cache", "verify", own_demo.config)
    assert told.code == 0
    assert "format 2, this hiprobe reads up to 1; install a newer hiprobe" in told.out
    assert hiprobe("plan", own_demo.config, "--check").code == 0
    refused = hiprobe("cache", "gc", own_demo.config, "--delete")
    assert refused.code != 0
    assert "format 2" in refused.out
    assert path.exists()


def older(demo: Demo) -> None:
    """Make of a finished run what hiprobe 0.6 left: no roots, no sums, other catalogs."""
    store = demo.folder / "store"
    for name in ("roots", "pins"):
        shutil.rmtree(store / name)
    for path in demo.folder.glob("**/SHA256SUMS"):
        path.unlink()
    for path in (store / "catalog").glob("*.txt"):
        rows = [line.split(" ")[:4] for line in path.read_text().splitlines()[1:]]
        body = "".join(f"{' '.join(row)}\n" for row in rows)
        path.write_text(f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}")


def test_what_an_older_hiprobe_wrote_is_read_and_completed(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    expected = digests(own_demo.folder / "store")
    older(own_demo)
    store = Store(own_demo.folder / "store")
    assert hiprobe("plan", own_demo.config, "--check").code == 0
    assert hiprobe("show", own_demo.config).code == 0
    told = hiprobe("cache", "verify", own_demo.config, "--full")
    assert told.code == 0, told.out
    assert "they have no check sums, which the next run writes" in told.out
    found = load_catalog(store, store.stages())
    assert {f"{s}/{k}": d for s, one in found.items() for k, d in one.digests.items()} == expected
    before = {path: path.stat().st_ino for path in store.root.glob("*/??/*")}
    done = hiprobe("run", own_demo.config, "--quiet", "--json").value()
    assert not any(done["built"].values())
    assert {path: path.stat().st_ino for path in store.root.glob("*/??/*")} == before
    assert len(list((store.root / "roots").glob("*.txt"))) == 1
    told = hiprobe("cache", "verify", own_demo.config, "--full")
    assert told.code == 0, told.out
    assert "no check sums" not in told.out


def test_arrays_of_an_older_hiprobe_are_read(own_demo: Demo, hiprobe: Hiprobe) -> None:
    """They list no check sums of their chunks; every chunk still carries its own."""
    expected = (own_demo.folder / "scores.parquet").read_bytes()
    for path in sorted((own_demo.folder / "store").glob("forward/*/*")):
        for name in ("states.zarr/zarr.json", "heads.zarr/zarr.json"):
            document: dict[str, Any] = json.loads((path / name).read_text())
            said = document["attributes"]
            for new in ("format", "chunk_crc32c", "crc32"):
                del said[new]
            said["crc32"] = f"{zlib.crc32(plain_json(said)):08x}"
            rewritten(path, name, json.dumps(document).encode())
    shutil.rmtree(own_demo.folder / "store" / "catalog")
    assert hiprobe("cache", "verify", own_demo.config, "--full").code == 0
    chance = random.Random(3).choice(sorted((own_demo.folder / "store").glob("score/*/*")))
    shutil.rmtree(chance)
    done = hiprobe("run", own_demo.config, "--quiet", "--until", "score")
    assert done.code == 0, done.out
    assert hiprobe("run", own_demo.config, "--quiet").code == 0
    assert (own_demo.folder / "scores.parquet").read_bytes() == expected
