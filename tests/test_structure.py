"""The structure that every part keeps: direction of imports, lazy packages, small files."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("cache", "manifests", "stages", "pipeline")
"""Each may import itself and what stands before it."""
HEAVY = ("torch", "transformers", "dask", "distributed", "sklearn", "pandas", "matplotlib", "av")
STAGES = sorted(
    p.stem for p in (ROOT / "stages").glob("*.py") if p.stem not in ("__init__", "contract")
)
FILES = sorted(
    path
    for folder in (*LAYERS, "demo")
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
)


def imports(path: Path) -> set[str]:
    """Every module that a file names in an import, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def top_level_imports(path: Path) -> set[str]:
    """The packages that are imported as soon as a file is."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_flow_one_way(path: Path) -> None:
    layer = path.relative_to(ROOT).parts[0]
    if layer == "demo":
        refused = {"pipeline"}
    else:
        refused = {*LAYERS[LAYERS.index(layer) + 1 :], "demo"}
        if path.name == "demonstration.py":
            refused.discard("demo")
    assert not {name for name in imports(path) if name.split(".")[0] in refused}


@pytest.mark.parametrize("stage", STAGES)
def test_stages_never_import_one_another(stage: str) -> None:
    others = {f"stages.{name}" for name in STAGES if name != stage}
    assert not imports(ROOT / "stages" / f"{stage}.py") & others


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_module_is_light(stage: str) -> None:
    found = top_level_imports(ROOT / "stages" / f"{stage}.py")
    assert not found & {*HEAVY, "numpy", "scipy", "zarr", "pyarrow", "safetensors", "PIL"}


def test_every_stage_of_the_graph_has_its_three_names() -> None:
    from importlib import import_module

    from pipeline.graph import GRAPH

    assert sorted(node.name for node in GRAPH) == STAGES
    for node in GRAPH:
        module = import_module(node.module)
        assert isinstance(module.VERSION, int)
        assert callable(module.compute)
        assert isinstance(module.Settings, type)


def test_help_imports_nothing_but_click() -> None:
    code = (
        "import sys, json\nfrom pipeline.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(out.stdout.splitlines()[-1]))
    assert not loaded & {*HEAVY, "numpy", "pyarrow", "scipy", "zarr"}
    assert not {name for name in loaded if name.startswith("stages")}


def test_the_packages_are_all_in_the_distribution() -> None:
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in FILES}
    assert folders == set(listed)


def test_files_are_small_and_named_for_one_idea() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "base"}
    for path in FILES:
        assert path.stem not in vague, path
        assert len(path.read_text().splitlines()) <= 400, path


def test_nothing_is_ever_pickled_and_no_remote_code_is_trusted() -> None:
    for path in FILES:
        assert not {name.split(".")[0] for name in imports(path)} & {"pickle", "dill", "joblib"}
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "allow_pickle"):
                assert isinstance(node.value, ast.Constant), path
                assert node.value.value is False, path
