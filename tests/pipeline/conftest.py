"""A bundle of the small run, for all who start from one; and a store that a team shares."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import pytest

from cache.roots import Root, write_root
from cache.store import Store
from tests.cache.stores import publish
from tests.conftest import Demo
from tests.pipeline.bundles import exported
from tests.pipeline.team import STAGES, VIDEOS


@pytest.fixture(scope="session")
def bundle(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the chosen layer of the small run; nobody may change it."""
    return exported(demo, tmp_path_factory.mktemp("bundle") / "layer")


@pytest.fixture
def own(bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(bundle, tmp_path / "own")
    return tmp_path / "own"


@pytest.fixture
def colleague(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where a colleague sits."""
    (tmp_path / "colleague").mkdir()
    monkeypatch.chdir(tmp_path / "colleague")
    return tmp_path / "colleague"


@pytest.fixture
def ours(tmp_path: Path) -> Store:
    """Three videos in three stages, a stage over the data set, and one artifact of no run."""
    store = Store.open(tmp_path / "ours")
    reach = {stage: {v: publish(store, n, stage=stage).key for v, n in VIDEOS.items()}
             for stage in STAGES}  # fmt: skip
    reach["fit"] = {"dataset": publish(store, 0, stage="fit").key}
    publish(store, 9)
    write_root(store.root, Root("ucf~123456789abc", "ucf", reach, by="ada@lab"))
    return store


@pytest.fixture
def url() -> str:
    """An empty place in memory."""
    return f"memory://{uuid.uuid4().hex}/store"
