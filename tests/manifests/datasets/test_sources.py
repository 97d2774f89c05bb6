"""Digests of source files: right, remembered, and never remembered wrongly."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import ItemError
from manifests.datasets import sources
from manifests.datasets.contract import SourceFile
from manifests.datasets.folder import scan
from manifests.datasets.sources import DigestMemory, digest_file, digest_files

LONG_AGO = 1_600_000_000_000_000_000
SECOND = 1_000_000_000
FILE = SourceFile("a#1 é", "a#1 é.mp4", 10, LONG_AGO, 3)
SHA = "ab" * 32


def quiet(done: float, total: float) -> None:
    pass


def put(root: Path, **contents: bytes) -> tuple[SourceFile, ...]:
    """Write videos that look old, and list them."""
    root.mkdir(exist_ok=True)
    for name, data in contents.items():
        path = root / f"{name}.mp4"
        path.write_bytes(data)
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return scan(root)[0]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def remembered(path: Path) -> DigestMemory:
    memory = DigestMemory(path)
    assert memory.remember(FILE, SHA, LONG_AGO + 10 * SECOND)
    memory.save()
    return memory


def test_a_memory_that_is_not_there_is_empty_without_a_warning(tmp_path: Path) -> None:
    memory = DigestMemory(tmp_path / "digests")
    assert memory.known(FILE) is None
    assert memory.warning == ""


def test_what_is_remembered_is_known_at_once_and_after_loading(tmp_path: Path) -> None:
    assert remembered(tmp_path / "new" / "digests").known(FILE) == SHA
    memory = DigestMemory(tmp_path / "new" / "digests")
    assert memory.known(FILE) == SHA
    assert memory.warning == ""
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["digests"]


@pytest.mark.parametrize(
    "change", [{"bytes": 11}, {"mtime_ns": LONG_AGO + 1}, {"inode": 4}, {"path": "b.mp4"}]
)
def test_a_file_that_looks_different_is_not_known(tmp_path: Path, change: dict[str, int]) -> None:
    assert remembered(tmp_path / "digests").known(replace(FILE, **change)) is None


@pytest.mark.parametrize(
    ("age_ns", "expected"),
    [(2 * SECOND, True), (2 * SECOND - 1, False), (0, False), (-5 * SECOND, False)],
)
def test_a_file_written_a_moment_ago_is_not_remembered(
    tmp_path: Path, age_ns: int, expected: bool
) -> None:
    memory = DigestMemory(tmp_path / "digests")
    assert memory.remember(FILE, SHA, FILE.mtime_ns + age_ns) is expected
    assert (memory.known(FILE) == SHA) is expected


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    DigestMemory(tmp_path / "digests").save()
    assert not (tmp_path / "digests").exists()


def test_the_file_depends_on_what_is_remembered_and_not_on_the_order(tmp_path: Path) -> None:
    files = [replace(FILE, path=f"{n}.mp4", inode=n) for n in range(5)]
    for name, order in [("one", files), ("two", files[::-1])]:
        memory = DigestMemory(tmp_path / name)
        for file in order:
            memory.remember(file, SHA, LONG_AGO + 10 * SECOND)
        memory.save()
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
BIG = st.integers(0, 2**63)


@settings(max_examples=40, deadline=None)
@given(entries=st.dictionaries(TEXT, st.tuples(BIG, BIG, BIG, st.text("0123456789abcdef"))))
def test_round_trip(
    entries: dict[str, tuple[int, int, int, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("memory") / "digests"
    files = {SourceFile("", name, *facts[:3]): facts[3] for name, facts in entries.items()}
    memory = DigestMemory(path)
    for file, digest in files.items():
        memory.remember(file, digest, 2**63 + 2 * SECOND)
    memory.save()
    again = DigestMemory(path)
    assert {file: again.known(file) for file in files} == files
    assert again.warning == ""


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:-20], "its checksum is wrong"),
        (lambda data: data.replace(b"abab", b"abac", 1), "its checksum is wrong"),
        (lambda data: data.replace(b'"version": 1', b'"version": 2'), "version 2, expected 1"),
        (lambda data: b"", "Expecting value"),
        (lambda data: b"[]\n", "it is another kind of file"),
        (lambda data: b'{"format": "x"}\n', "it is another kind of file"),
        (lambda data: b"PAR1\xff\xfe\x00", "decode"),
        (lambda data: b"[" * 100_000, "recursion"),
    ],
)
def test_a_damaged_or_foreign_memory_starts_empty_with_a_warning(
    tmp_path: Path, damage: object, reason: str
) -> None:
    path = tmp_path / "digests"
    remembered(path)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    memory = DigestMemory(path)
    assert memory.known(FILE) is None
    assert memory.warning.startswith("digests is not a usable memory of digests (")
    assert reason in memory.warning
    memory.remember(FILE, SHA, LONG_AGO + 10 * SECOND)
    memory.save()
    assert DigestMemory(path).known(FILE) == SHA


def test_a_save_that_fails_keeps_the_old_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = remembered(tmp_path / "digests")
    memory.remember(replace(FILE, path="b.mp4"), SHA, LONG_AGO + 10 * SECOND)

    def fail(one: Path, two: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        memory.save()
    kept = DigestMemory(tmp_path / "digests")
    assert kept.known(FILE) == SHA
    assert kept.known(replace(FILE, path="b.mp4")) is None
    assert [path.name for path in tmp_path.iterdir()] == ["digests"]
    memory.save()  # there is room again
    assert DigestMemory(tmp_path / "digests").known(replace(FILE, path="b.mp4")) == SHA


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_a_digest_is_the_sha256_of_the_bytes(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (file,) = put(tmp_path, a=data)
    assert digest_file(tmp_path, file) == sha(data)


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_all_files_have_their_digests(tmp_path: Path, workers: int) -> None:
    contents = {f"v{n}": os.urandom(n * 1000) for n in range(12)}
    files = put(tmp_path / "root", **contents)
    seen: list[tuple[float, float]] = []
    digests, failures = digest_files(
        tmp_path / "root", files, DigestMemory(tmp_path / "digests"), workers,
        lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert digests == {name: sha(data) for name, data in contents.items()}
    assert list(digests) == sorted(digests)
    assert failures == {}
    total = sum(map(len, contents.values()))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {t for _, t in seen} == {total}
    assert seen[-1] == (total, total)


def test_what_is_known_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, memory = tmp_path / "root", tmp_path / "digests"
    digest_files(root, put(root, a=b"a", b=b"b"), DigestMemory(memory), 2, quiet)
    (root / "b.mp4").write_bytes(b"B")
    os.utime(root / "b.mp4", ns=(LONG_AGO, LONG_AGO + SECOND))
    read = []
    original = digest_file

    def watched(root: Path, file: SourceFile, stop: Event | None = None) -> str:
        read.append(file.video_id)
        return original(root, file, stop)

    monkeypatch.setattr(sources, "digest_file", watched)
    digests, _ = digest_files(root, scan(root)[0], DigestMemory(memory), 2, quiet)
    assert digests == {"a": sha(b"a"), "b": sha(b"B")}
    assert read == ["b"]


def test_a_file_that_is_still_warm_is_read_again_next_time(tmp_path: Path) -> None:
    root, memory = tmp_path / "root", tmp_path / "digests"
    put(root, old=b"x")
    (root / "warm.mp4").write_bytes(b"y")
    files = scan(root)[0]
    digests, _ = digest_files(root, files, DigestMemory(memory), 1, quiet)
    assert digests["warm"] == sha(b"y")
    again = DigestMemory(memory)
    assert [again.known(file) for file in files] == [sha(b"x"), None]


def test_no_absolute_path_is_written(tmp_path: Path) -> None:
    root, memory = tmp_path / "root", tmp_path / "digests"
    digest_files(root, put(root, a=b"a"), DigestMemory(memory), 1, quiet)
    assert str(tmp_path).encode() not in memory.read_bytes()
    assert b"a.mp4" in memory.read_bytes()


def test_files_that_cannot_be_read_do_not_stop_the_others(tmp_path: Path) -> None:
    root = tmp_path / "root"
    files = put(root, a=b"a", b=b"b", c=b"c", d=b"d")
    (root / "b.mp4").unlink()
    (root / "c.mp4").write_bytes(b"longer than it was")
    digests, failures = digest_files(root, files, DigestMemory(tmp_path / "digests"), 2, quiet)
    assert digests == {"a": sha(b"a"), "d": sha(b"d")}
    assert list(failures) == ["b", "c"]
    assert failures["b"].startswith("b.mp4 cannot be read: No such file or directory; check")
    assert failures["c"].startswith("c.mp4 changed while its digest was taken: expected 1 bytes")


def test_a_file_that_changed_since_it_was_listed_is_not_even_opened(tmp_path: Path) -> None:
    (file,) = put(tmp_path, a=b"a")
    (tmp_path / "a.mp4").unlink()
    os.mkfifo(tmp_path / "a.mp4")  # opening it would wait for ever
    with pytest.raises(ItemError, match="changed"):
        digest_file(tmp_path, file)


def test_a_file_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = put(tmp_path, a=b"a")

    def refuse(path: Path, *args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ItemError, match=r"a\.mp4 cannot be read: Permission denied; .* may read"):
        digest_file(tmp_path, file)


class Meddler(Event):
    """Writes to a file each time a piece of it was read."""

    def __init__(self, path: Path, *, append: bool) -> None:
        super().__init__()
        self._path, self._append = path, append

    def is_set(self) -> bool:
        with self._path.open("r+b") as file:
            file.seek(0, os.SEEK_END if self._append else os.SEEK_SET)
            file.write(b"!")
        return False


@pytest.mark.parametrize("append", [True, False])
def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path, append: bool) -> None:
    (file,) = put(tmp_path, a=b"abc")
    with pytest.raises(ItemError, match=r"a\.mp4 changed while its digest was taken"):
        digest_file(tmp_path, file, Meddler(tmp_path / "a.mp4", append=append))


def test_a_file_that_grows_as_fast_as_it_is_read_is_left_alone(tmp_path: Path) -> None:
    (file,) = put(tmp_path, a=b"abc")
    with pytest.raises(ItemError, match="changed"):
        digest_file(tmp_path, file, Meddler(tmp_path / "a.mp4", append=True))
    assert (tmp_path / "a.mp4").stat().st_size < 10


def test_a_change_that_the_file_system_hides_is_noticed_by_the_bytes_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = put(tmp_path, a=b"abc")
    (tmp_path / "a.mp4").write_bytes(b"ab")
    monkeypatch.setattr(sources, "_check_same", lambda path, file: None)
    with pytest.raises(ItemError, match=r"expected 3 bytes, .* found 2 bytes read"):
        digest_file(tmp_path, file)


def test_a_file_that_is_replaced_by_another_of_equal_size_and_time_is_noticed(
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    (file,) = put(root, a=b"abc")
    put(tmp_path / "other", a=b"xyz")
    (tmp_path / "other" / "a.mp4").replace(root / "a.mp4")
    with pytest.raises(ItemError, match="inode"):
        digest_file(root, file)


def test_an_interruption_keeps_what_is_done(tmp_path: Path) -> None:
    root = tmp_path / "root"
    files = put(root, **{f"v{n}": bytes(n + 1) for n in range(40)})

    def interrupt(done: float, total: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        digest_files(root, files, DigestMemory(tmp_path / "digests"), 1, interrupt)
    memory = DigestMemory(tmp_path / "digests")
    known = {file.video_id: memory.known(file) for file in files if memory.known(file)}
    assert 1 <= len(known) < 40
    assert all(known[f"v{n}"] == sha(bytes(n + 1)) for n in range(40) if f"v{n}" in known)


def test_reading_stops_when_it_is_told_to(tmp_path: Path) -> None:
    (file,) = put(tmp_path, a=b"abc")
    stop = Event()
    stop.set()
    with pytest.raises(ItemError, match="stopped"):
        digest_file(tmp_path, file, stop)


def test_the_memory_is_saved_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, path = tmp_path / "root", tmp_path / "digests"
    files = put(root, a=b"a", b=b"bb", c=b"ccc")
    monkeypatch.setattr(sources, "_SAVE_SECONDS", 0.0)
    rows: list[int] = []

    def look(done: float, total: float) -> None:
        rows.append(sum(DigestMemory(path).known(file) is not None for file in files))

    digest_files(root, files, DigestMemory(path), 1, look)
    assert rows == [0, 1, 2]
