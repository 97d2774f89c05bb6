"""A colleague without torch: what hiprobe does where no model can be run and no video decoded.

In the suite the packages of the extra `models` cannot be imported; with HIPROBE_INSTALL=1, as in
.ci/run, hiprobe is installed without them into a new environment, as docs/bundles.md says.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pipeline.graph import GRAPH
from pipeline.packages import MODELS, NEEDED
from tests.clean_copy import clean_copy
from tests.conftest import Demo
from tests.pipeline.bundles import RESULTS, exported, manifest

ROOT = Path(__file__).parent.parent
BLOCKED = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {(*MODELS, "huggingface_hub", "tokenizers")!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""
RUN = (
    BLOCKED + "from pipeline.cli import main\n"
    "try: main()\nfinally: assert not {'torch', 'transformers', 'av'} & {*sys.modules}\n"
)


def without(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """hiprobe in a process that has none of these packages."""
    return subprocess.run(
        [sys.executable, "-c", RUN, *map(str, words)], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def bundle(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(demo, tmp_path_factory.mktemp("bundle") / "layer")


def test_a_run_from_a_bundle_gives_what_the_whole_run_gave(
    demo: Demo, bundle: Path, tmp_path: Path
) -> None:
    planned = without("plan", "--from-bundle", bundle, folder=tmp_path)
    assert re.search(r"^fit +1 +1 ", planned.stdout, re.MULTILINE), planned.stderr
    done = without("run", "--from-bundle", bundle, "--quiet", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fit 1, score 20, threshold 1, localize 20, evaluate 1, report 1" in done.stdout
    results = tmp_path / "runs" / "demo"
    for name in RESULTS:
        assert (results / name).read_bytes() == (demo.folder / name).read_bytes(), name
    for node in GRAPH:
        if (demo.folder / "manifests" / f"{node.name}.parquet").exists():
            assert manifest(results, node.name) == manifest(demo.folder, node.name)
    shown = without("show", "--from-bundle", bundle, folder=tmp_path)
    assert "auc" in shown.stdout.lower(), shown.stderr


def test_a_stage_that_needs_a_package_says_so_before_anything_runs(
    own_demo: Demo, tmp_path: Path
) -> None:
    fresh = ("--set", f"run.store={tmp_path / 'new'}", "--set", f"run.runs={tmp_path / 'runs'}")
    planned = without("plan", own_demo.config, *fresh, folder=tmp_path)
    assert planned.returncode == 0, planned.stderr
    done = without("run", own_demo.config, *fresh, "--quiet", folder=tmp_path)
    assert done.returncode == 2
    assert "stage decode needs av, not installed here" in done.stderr
    assert 'pip install "hiprobe[models]"' in done.stderr
    assert not (tmp_path / "new" / "index").exists()
    # Where the features are in the store, nothing of it is needed.
    done = without("run", own_demo.config, "--quiet", "--set", "fit.c=0.5", "--until", "evaluate",
                   folder=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "fit 1, score 20" in done.stdout
    done = without("run", own_demo.config, "--quiet", "--set", "statistics.bins=9", folder=tmp_path)
    assert (done.returncode, "stage statistics needs torch" in done.stderr) == (2, True)


@pytest.mark.parametrize("words", [("demo",), ("backbone", "check", "{model}")])
def test_a_command_that_needs_a_package_says_so(
    demo: Demo, tmp_path: Path, words: tuple[str, ...]
) -> None:
    given = [word.format(model=demo.folder / "backbone") for word in words]
    done = without(*given, folder=tmp_path)
    assert done.returncode == 2
    assert re.search(r"needs (torch|av), not installed here: pip install", done.stderr), done.stderr


def test_a_backbone_on_the_hub_is_not_looked_for_without_the_hub(
    demo: Demo, tmp_path: Path
) -> None:
    config = tmp_path / "run.toml"
    text = (demo.folder / "run.toml").read_text()
    text = re.sub(r'^model = "[^"]*"', 'model = "owner/name"', text, flags=re.MULTILINE)
    for name in ("data/videos", "data/labels.csv"):
        text = text.replace(f'"{name}"', f'"{demo.folder / name}"')
    config.write_text(text)
    done = without("plan", config, folder=tmp_path)
    assert (done.returncode, "huggingface_hub" in done.stderr) == (2, True), done.stderr
    config.write_text(re.sub(r'^identity = ""', f'identity = "{"0" * 64}"', text, flags=re.M))
    done = without("plan", config, folder=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_table_of_needs_is_what_the_stages_import() -> None:
    """Followed through every import of hiprobe's own modules, at any depth of a function."""
    for node in GRAPH:
        found = imported(node.module) & {"torch", "transformers", "av"}
        expected = {*NEEDED.get(node.name, ())}
        if node.name == "sample":
            expected = {"av"}  # where it stores pixels
        assert found == expected, node.name


def imported(module: str) -> set[str]:
    """The packages that a module of ours imports, itself or through others of ours."""
    seen: set[str] = set()
    found: set[str] = set()
    queue = [module]
    while queue:
        name = queue.pop()
        if name in seen or name.partition(".")[0] not in ("stages", "cache", "manifests"):
            found.add(name.partition(".")[0])
            continue
        seen.add(name)
        path = ROOT / (name.replace(".", "/") + ".py")
        path = path if path.exists() else ROOT / name.replace(".", "/") / "__init__.py"
        if not path.exists():
            continue  # a name in a module
        for each in ast.walk(ast.parse(path.read_text())):
            if isinstance(each, ast.Import):
                queue += [alias.name for alias in each.names]
            elif isinstance(each, ast.ImportFrom) and each.module:
                queue += [each.module, *(f"{each.module}.{alias.name}" for alias in each.names)]
    return found


def test_the_extra_brings_them_and_nothing_else_does() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[<>=\[]", text)[0] for text in project["dependencies"]]
    assert not {*names} & {*MODELS}
    extra = project["optional-dependencies"]
    assert sorted(re.split(r"[<>=]", text)[0] for text in extra["models"]) == sorted(MODELS)
    assert any(re.match(r"hiprobe\[(.*,)?models\b", text) for text in extra["dev"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_environment_without_them(demo: Demo, bundle: Path, tmp_path: Path) -> None:
    if not os.environ.get("HIPROBE_INSTALL"):
        pytest.skip("needs the network and minutes: set HIPROBE_INSTALL=1, as .ci/run does")
    clean_copy(tmp_path / "src")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    binaries = tmp_path / "venv" / "bin"
    for words in (
        [sys.executable, "-m", "venv", tmp_path / "venv"],
        [
            binaries / "pip",
            "install",
            "-q",
            "-c",
            tmp_path / "src/constraints.txt",
            tmp_path / "src",
        ],
        [binaries / "hiprobe", "run", "--from-bundle", bundle, "--quiet"],
    ):
        done = subprocess.run(
            [*map(str, words)], cwd=tmp_path, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    packages = tmp_path / "venv/lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    assert not [name for name in MODELS if (packages / name).exists()]
    for name in RESULTS:
        found = (tmp_path / "runs" / "demo" / name).read_bytes()
        assert found == (demo.folder / name).read_bytes(), name
