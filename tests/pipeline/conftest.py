"""A bundle of the small run, for all who start from one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import Demo
from tests.pipeline.bundles import exported


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
