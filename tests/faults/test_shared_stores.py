"""A store over shared ones: nothing is written there, whatever happens to them; pulls are killed."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cache.catalog
from cache.artifact import Artifact
from cache.catalog import load_catalog
from cache.errors import NotAStore
from cache.eviction import evict
from cache.store import Store
from tests.cache.stores import (
    PAYLOAD,
    RECIPE,
    findings,
    flip,
    inputs,
    key_of,
    payload_of,
    publish,
)
from tests.conftest import Called, Demo, copy_of

Hiprobe = Callable[..., Called]

NOBODY = 65534
AS_NOBODY = """
import json, os, sys
from click.testing import CliRunner
from pipeline.cli import main
warm, calls = json.loads(sys.argv[1])
def call(words):
    result = CliRunner().invoke(main, words)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return [result.exit_code, result.stdout, result.output]
# Everything is imported while the interpreter can still be read.
for words in warm:
    assert call(words)[0] == 0, call(words)
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    os.environ["HOME"] = "/nonexistent"
print(json.dumps([call(words) for words in calls]))
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach; the temporary folders of pytest are closed to others."""
    with tempfile.TemporaryDirectory(prefix="hiprobe-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)


def write_protect(root: Path) -> None:
    """chmod -R a-w."""
    for path in [root, *root.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)


def state_of(root: Path) -> dict[str, tuple[int, ...]]:
    """Every entry with what changes when somebody touches it."""
    found = {}
    for path in [root, *sorted(root.rglob("*"))]:
        s = path.lstat()
        found[str(path)] = (
            s.st_ino,
            s.st_size,
            s.st_mtime_ns,
            s.st_ctime_ns,
            stat.S_IMODE(s.st_mode),
        )
    return found


def as_nobody(warm: list[list[object]], calls: list[list[object]]) -> list[Called]:
    words = json.dumps([[[str(w) for w in c] for c in part] for part in (warm, calls)])
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, words], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    return [Called(code, out if code in (0, 3, 4) else every) for code, out, every in said]


@pytest.fixture
def team(demo: Demo, open_folder: Path) -> Demo:
    """The finished run, whose store is the team's and stands beside it as `team`."""
    made = copy_of(demo, open_folder / "demo")
    for path in (made.folder / "backbone").iterdir():
        path.chmod(0o644)  # safetensors writes for one user alone
    (made.folder / "store").rename(open_folder / "team")
    return made


def over(store: str, *shared: str) -> list[str]:
    given = json.dumps([f"../{name}" for name in shared])
    return ["--set", f"run.store=../{store}", "--set", f"cache.shared={given}"]


def test_a_team_store_that_cannot_be_written_is_read_and_what_is_new_is_private(
    team: Demo, open_folder: Path
) -> None:
    """Nobody may write into it: neither its mode nor the user who runs allow that."""
    warm = copy_of(team, open_folder / "warm")
    shutil.copytree(open_folder / "team", open_folder / "warmteam")
    changed = ["--set", "fit.c=0.5"]
    until = ["--until", "score"]
    calls: list[list[object]] = []
    for demo, store, shared in ((warm, "warmstore", "warmteam"), (team, "mine", "team")):
        lay = [*over(store, shared), "--set", f"run.runs=../{store}runs"]
        calls += [
            ["run", demo.config, "--quiet", "--json", *lay],
            ["run", demo.config, "--quiet", "--json", *lay, *changed, *until],
            ["status", demo.config, "--json", *lay, *changed],
        ]
    for name in ("demo", "warm", "warmteam"):  # and the team's own belongs to somebody else
        for path in [open_folder / name, *(open_folder / name).rglob("*")]:
            os.chown(path, *((NOBODY, NOBODY) if os.getuid() == 0 else (-1, -1)))
    open_folder.chmod(0o777)
    write_protect(open_folder / "team")
    before = state_of(open_folder / "team")
    nothing, some, status = as_nobody(calls[:3], calls[3:])
    assert state_of(open_folder / "team") == before
    assert nothing.code == some.code == status.code == 0
    assert not any(nothing.value()["built"].values())
    made = {stage for stage, count in some.value()["built"].items() if count}
    assert made == {"fit", "score"}
    mine = Store(open_folder / "mine")
    assert set(mine.stages()) == made
    assert findings(mine) == []
    stores = {s["stage"]: s["stores"] for s in status.value()["stages"] if s["stores"]}
    assert stores["forward"] == {"../team": 20}
    assert stores["fit"] == {"../mine": 1}


def test_a_store_of_ones_own_that_cannot_be_written_can_be_looked_at(
    team: Demo, open_folder: Path
) -> None:
    lay = over("mine", "team")
    Store.open(open_folder / "mine")
    publish(Store(open_folder / "mine"), 1)
    looks: list[list[object]] = []
    for name in ("mine", "team"):
        looks += [["cache", what, open_folder / name, "--json"] for what in ("ls", "du", "verify")]
    looks += [[what, team.config, "--json", *lay] for what in ("status", "plan")]
    warm = copy_of(team, open_folder / "warm")
    shutil.copytree(open_folder / "team", open_folder / "warmteam")
    first: list[list[object]] = [
        *([what, warm.config, *over("warmstore", "warmteam")] for what in ("status", "plan")),
        *(["cache", what, open_folder / "warmteam"] for what in ("ls", "du", "verify")),
    ]
    for name in ("team", "mine", "demo"):
        write_protect(open_folder / name)
    before = {name: state_of(open_folder / name) for name in ("team", "mine", "demo")}
    said = as_nobody(first, looks)
    assert [one.code for one in said] == [0] * len(looks), said
    assert {name: state_of(open_folder / name) for name in before} == before
    assert said[-1].value()["work"] == 0
    assert said[-2].value()["shared"] == ["../team"]
    assert {row["key"] for row in said[0].value()} == {key_of(1)}


def test_what_is_damaged_in_a_shared_store_is_made_again_privately(
    team: Demo, open_folder: Path, hiprobe: Hiprobe
) -> None:
    shared = Store(open_folder / "team")
    lay = over("mine", "team")
    changed = [*lay, "--set", "fit.c=0.5"]
    until = ["--until", "fit"]
    key = shared.keys("select")[0]
    victim = shared.artifact("select", key)
    entry = victim.commit.files[0].path
    digest = victim.digest
    flip(victim.path / entry, 27)
    before = state_of(open_folder / "team")
    done = hiprobe("run", team.config, *changed, *until)
    assert done.code == 0, done.out
    assert state_of(open_folder / "team") == before
    mine = Store(open_folder / "mine")
    assert mine.artifact("select", key).digest == digest
    assert findings(mine) == []
    marks = [p.name for p in (mine.root / "quarantine").iterdir()]
    assert len(marks) == 1
    assert marks[0].startswith(f"select~{key}~shared~")
    status = {
        s["stage"]: s for s in hiprobe("status", team.config, "--json", *changed).value()["stages"]
    }
    assert status["select"]["stores"] == {"../mine": 1}
    again = hiprobe("run", team.config, "--json", *changed, *until).value()
    assert not any(again["built"].values())
    text = hiprobe("status", team.config, *changed).out
    assert "[1 ../mine]" in text
    assert "[20 ../team]" in text
    assert text.splitlines()[0].split()[-1] == "from"
    plain = hiprobe("status", team.config, "--set", "run.store=../team")
    assert plain.out.splitlines()[0].split()[-1] == "bytes"  # one store: nothing to be told apart


def test_a_shared_store_that_has_vanished_is_said(
    team: Demo, open_folder: Path, hiprobe: Hiprobe
) -> None:
    lay = over("mine", "team")
    assert hiprobe("status", team.config, *lay).code == 0
    (open_folder / "team").rename(open_folder / "unmounted")
    for command in ("run", "status", "plan"):
        done = hiprobe(command, team.config, *lay)
        assert done.code == 2
        assert "team is not a hiprobe store" in done.out
        assert "is it mounted?" in done.out
    (open_folder / "team").mkdir()  # the mount point alone
    assert hiprobe("run", team.config, *lay).code == 2
    assert list((open_folder / "team").iterdir()) == []


def test_a_store_that_is_named_twice_is_refused(team: Demo, hiprobe: Hiprobe) -> None:
    for lay in (over("team", "team"), over("mine", "team", "x/../team")):
        done = hiprobe("status", team.config, *lay)
        assert done.code == 2
        assert "names a store twice" in done.out


# Stores alone


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_whoever_the_umask_lets_can_read_every_file(tmp_path: Path, umask: int) -> None:
    """Also those that a library writes for one user alone, as safetensors does."""
    before = os.umask(umask)
    try:
        store = Store.open(tmp_path / "store")
        with store.draft("decode", 1, RECIPE, inputs(1)) as draft:
            for name, mode in (("closed", 0o600), ("open", 0o666), ("tool", 0o700)):
                os.close(os.open(draft.path / name, os.O_CREAT | os.O_WRONLY, mode))
            artifact = store.publish(draft, rows=0)
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) & 0o666 for p in artifact.path.iterdir()}
    assert set(modes) == {"closed", "open", "tool", "commit.json"}
    assert set(modes.values()) == {0o666 & ~umask}


def test_the_nearest_store_that_holds_an_artifact_is_read(tmp_path: Path) -> None:
    near, far = Store.open(tmp_path / "near"), Store.open(tmp_path / "far")
    other = {**PAYLOAD, "table.bin": b"other"}
    publish(far, 1), publish(far, 2), publish(far, 3)
    publish(near, 2, other), publish(near, 4)
    mine = Store.open(tmp_path / "mine", (near.root, far.root))
    publish(mine, 4, other)
    where = {n: mine.artifact("decode", key_of(n)).path.parents[2].name for n in range(1, 5)}
    assert where == {1: "far", 2: "near", 3: "far", 4: "mine"}
    index = load_catalog(mine, ["decode"])["decode"]
    origin = {n: index.origin.get(key_of(n)) for n in range(1, 5)}
    assert origin == {1: far.root, 2: near.root, 3: far.root, 4: None}
    for number in range(1, 5):
        assert index.digests[key_of(number)] == mine.artifact("decode", key_of(number)).digest


def test_a_payload_that_is_evicted_here_is_read_from_a_shared_store(tmp_path: Path) -> None:
    far, near = Store.open(tmp_path / "far"), Store.open(tmp_path / "near")
    publish(far, 1), publish(near, 1)
    evict(near, "decode", key_of(1))
    mine = Store.open(tmp_path / "mine", (near.root, far.root))
    assert payload_of(mine.artifact("decode", key_of(1)).path) == PAYLOAD
    index = load_catalog(mine, ["decode"])["decode"]
    assert key_of(1) not in index.evicted
    assert index.origin[key_of(1)] == far.root


def test_what_lies_under_a_shared_store_is_not_looked_at(tmp_path: Path) -> None:
    """A store does not know what it was laid over: each names all that it reads."""
    far = Store.open(tmp_path / "far")
    publish(far, 1)
    near = Store.open(tmp_path / "near", (far.root,))
    assert near.find("decode", key_of(1)) is not None
    assert Store.open(tmp_path / "mine", (near.root,)).find("decode", key_of(1)) is None


def test_a_shared_store_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("photos", "nothing"):
        with pytest.raises(NotAStore, match="is it mounted"):
            Store.open(tmp_path / "mine", (tmp_path / name,))


def test_records_of_a_shared_store_are_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Store.open(tmp_path / "shared")
    count = cache.catalog.WORTH_WRITING + 5
    for number in range(count):
        publish(shared, number, {"a": b"x"})
    shutil.rmtree(shared.root / "catalog")  # nobody has looked at it before
    write_protect(shared.root)
    opened: list[Artifact] = []
    plain = Artifact.commit.func  # type: ignore[attr-defined]
    monkeypatch.setattr(
        Artifact, "commit", property(lambda self: (opened.append(self), plain(self))[1])
    )
    mine = Store.open(tmp_path / "mine", (shared.root,))
    first = load_catalog(mine, ["decode"])["decode"]
    assert len(opened) == len(first.digests) == count
    opened.clear()
    again = load_catalog(Store(mine.root, (shared.root,)), ["decode"])["decode"]
    assert opened == []
    assert again.digests == first.digests
    assert again.origin == first.origin
    assert not (shared.root / "catalog").exists()
