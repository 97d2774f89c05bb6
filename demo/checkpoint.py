"""The trained backbone that comes with hiprobe: a checkpoint folder like a downloaded one."""

from __future__ import annotations

import shutil
from pathlib import Path

CHECKPOINT = Path(__file__).parent / "backbone"
"""Its folder."""
CARD, FIGURES = "README.md", "figures.json"
"""Files in it beside those of a checkpoint: the model card, and what `demo.train --check` compares."""


def copy_checkpoint(folder: Path) -> None:
    """Copy the checkpoint to `folder`, from where it is loaded like any other."""
    shutil.copytree(CHECKPOINT, folder, dirs_exist_ok=True)
