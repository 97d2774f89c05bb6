"""docs/tutorial.md: every command in it is run as it stands there.

Those behind the demonstration are run where that is (tests/pipeline/test_demonstration.py).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clean_copy import clean_copy

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
INSTALL, DEMONSTRATION, *REST = BLOCKS


def bash(script: str, folder: Path, path: str) -> str:
    """Run a script as a person types it, line after line; the first that fails ends it."""
    environment = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        ["bash", "-ex"], input=script, cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_it_installs(tmp_path: Path) -> None:
    if not os.environ.get("HIPROBE_INSTALL"):
        pytest.skip("needs the network and minutes: set HIPROBE_INSTALL=1, as .ci/run does")
    clean_copy(tmp_path)
    assert "hiprobe" in bash(INSTALL, tmp_path, str(Path(sys.executable).parent))
    # What was installed is whole: the checkpoint and the report's templates are in the package.
    code = "import demo.checkpoint as c; print(sorted(p.name for p in c.CHECKPOINT.iterdir()))"
    run = [tmp_path / ".venv/bin/python", "-I", "-c", code]
    told = subprocess.run(run, capture_output=True, text=True, check=True, cwd="/").stdout
    assert "model.safetensors" in told


def test_the_demonstration_is_the_one_of_the_tests() -> None:
    """`demonstration` runs this very command: there is no need to run it twice."""
    assert DEMONSTRATION.strip() == "hiprobe demo --out runs/demo"
