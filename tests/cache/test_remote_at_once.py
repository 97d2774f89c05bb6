"""Several who push and pull the same at once: one whole artifact, whoever wins."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cache.artifact import Artifact
from cache.download import download
from cache.errors import Unreachable
from cache.moved import MOVED, PRESENT
from cache.remote import Remote, Seen
from cache.store import Store
from cache.upload import upload
from tests.cache.lines import behind
from tests.cache.remotes import Place, place_of
from tests.cache.stores import (
    FULL,
    OTHER,
    PAYLOAD,
    at,
    begun,
    findings,
    payload_of,
    publish,
)


@contextmanager
def no_claims(store: Store) -> Iterator[None]:
    """Everybody gets every claim, as where O_EXCL does not hold what it promises."""
    with pytest.MonkeyPatch.context() as patch:

        @contextmanager
        def hold(name: str) -> Iterator[bool]:
            yield True

        patch.setattr(store.claims, "hold", hold)
        yield


@pytest.mark.parametrize("claims", [True, False])
def test_pulls_at_once_agree(
    place: Place, ours: Store, tmp_path: Path, small_blocks: None, claims: bool
) -> None:
    artifacts = [publish(ours, n, FULL) for n in range(4)]
    for artifact in artifacts:
        upload(artifact, place.remote())
    total = sum(sum(map(len, FULL.values())) + (a.path / "commit.json").stat().st_size
                for a in artifacts)  # fmt: skip
    for round_ in range(3):
        store = Store.open(tmp_path / f"round{round_}")
        remote, line = behind(place)
        ready = threading.Barrier(4)

        def pull(one: Store, remote: Remote = remote, ready: Any = ready) -> list[str]:
            ready.wait()
            with contextlib.nullcontext() if claims else no_claims(one):
                return [download(remote, "decode", a.key, one).outcome for a in artifacts]

        with ThreadPoolExecutor(4) as pool:
            said = list(pool.map(pull, [Store(store.root) for _ in range(4)]))
        for outcomes in zip(*said, strict=True):
            assert set(outcomes) <= {MOVED, PRESENT}
            assert outcomes.count(MOVED) == 1 or not claims
        assert line.passed == total or not claims
        assert findings(store) == []
        assert [payload_of(store.artifact("decode", a.key).path) for a in artifacts] == [FULL] * 4
        assert not begun(store)


def test_a_pull_waits_for_whoever_makes_the_same(place: Place, ours: Store, theirs: Store) -> None:
    artifact = publish(ours, 1)
    upload(artifact, place.remote())
    with theirs.claims.hold(f"decode~{artifact.key}"), ThreadPoolExecutor(1) as pool:
        moving = pool.submit(download, place.remote(), "decode", artifact.key, Store(theirs.root))
        publish(theirs, 1)
        assert moving.result(timeout=10).outcome == PRESENT


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_pushes_at_once_of_one_content_agree(tmp_path: Path, ours: Store, kind: str) -> None:
    artifact = publish(ours, 1, FULL)
    with place_of(kind, tmp_path) as place:
        remote = place.remote()
        remote.make()
        with ThreadPoolExecutor(4) as pool:
            said = [pool.submit(upload, artifact, remote) for _ in range(4)]
        assert {future.result().outcome for future in said} <= {MOVED, PRESENT}
        expected = {at(artifact, n): c for n, c in FULL.items()}
        assert place.files().items() >= expected.items()
        assert upload(artifact, remote, check=True).outcome == PRESENT


def test_pushes_at_once_of_two_contents_leave_one_whole(tmp_path: Path) -> None:
    """On S3: whoever puts his record last sees that the payload is not his own."""
    stores = [Store.open(tmp_path / name) for name in "ab"]
    with place_of("s3", tmp_path) as place:
        remote = place.remote()
        remote.make()
        for round_ in range(ROUNDS):
            artifacts = [
                publish(s, round_, c) for s, c in zip(stores, (PAYLOAD, OTHER), strict=True)
            ]
            ready = threading.Barrier(2)

            def push(artifact: Artifact, ready: Any = ready) -> None:
                ready.wait()
                push_until_it_is_said(artifact, remote)

            with ThreadPoolExecutor(2) as pool:
                list(pool.map(push, artifacts))
            fresh = Store.open(tmp_path / "fresh")
            assert download(remote, "decode", artifacts[0].key, fresh).outcome == MOVED
            assert findings(fresh) == []


ROUNDS = 12


def test_a_push_of_other_content_at_any_request_of_another_leaves_one_whole(tmp_path: Path) -> None:
    stores = [Store.open(tmp_path / name) for name in "ab"]
    with place_of("s3", tmp_path) as place:
        other = place.remote()
        other.make()
        for at in itertools.count(1):
            first, second = (
                publish(s, at, c) for s, c in zip(stores, (PAYLOAD, OTHER), strict=True)
            )
            requests = itertools.count(1)

            def before(
                plain: Any, at: int = at, second: Artifact = second, n: Any = requests
            ) -> Any:
                def call(*words: Any, **named: Any) -> Any:
                    if next(n) == at:
                        upload(second, other)
                    return plain(*words, **named)

                return call

            remote = place.remote()
            for name in ("record", "files", "send", "write", "remove"):
                setattr(remote, name, before(getattr(remote, name)))
            push_until_it_is_said(first, remote)
            fresh = Store.open(tmp_path / "fresh")
            moved = download(place.remote(), "decode", first.key, fresh)
            assert (moved.outcome, findings(fresh)) == (MOVED, []), (at, moved)
            if next(requests) <= at:
                break
    assert at > 5


def test_another_tag_is_not_another_content(tmp_path: Path, ours: Store) -> None:
    """S3 gives an encrypted object another tag with every writing."""
    with place_of("s3", tmp_path) as place:
        remote = place.remote()
        remote.make()
        plain, count = remote.files, itertools.count()
        remote.files = lambda folder: {  # type: ignore[method-assign]
            name: Seen(seen.bytes, f"tag {next(count)}") for name, seen in plain(folder).items()
        }
        artifact = publish(ours, 1)
        assert upload(artifact, remote).outcome == MOVED
        assert upload(artifact, remote).outcome == PRESENT
        assert next(count) > len(PAYLOAD)


def push_until_it_is_said(artifact: Artifact, remote: Remote) -> None:
    """As `hiprobe cache push` does, but as often as it takes."""
    for _ in range(20):
        with contextlib.suppress(Unreachable):
            upload(artifact, remote)
            return
    pytest.fail("twenty times in a row")
