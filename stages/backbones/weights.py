"""Weights into a native class of transformers, with no code of the checkpoint and no surprise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cache.errors import ConfigError

REBUILT = ("rotary_emb.inv_freq",)
"""Rotary tables: stored by some releases, and rebuilt from config.json."""


def load_native(folder: Path, model_class: Any, dtype: str, attention: str) -> Any:
    """The checkpoint in `model_class`, in evaluation mode on the CPU.

    Raises ConfigError where weights are missing, left over, or of another shape.
    """
    with quiet_progress():
        model, report = model_class.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            local_files_only=True,
            use_safetensors=True,
            # Not to be ignored: so that they stand in the report, which is checked.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    check_report(folder, report)
    return frozen(model)


def check_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Raise ConfigError where loading left anything out; `report` is the library's own.

    An output embedding that is tied to the input's is not among its missing keys.
    """
    for what in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        names = sorted(
            str(name) for name in report.get(what, ()) if not str(name).endswith(REBUILT)
        )
        if names:
            raise ConfigError(
                f"backbone {folder.name}: {what.replace('_', ' ')} in the weights, {len(names)} in "
                f"all, the first {names[0]}: the checkpoint does not fit its config.json"
            )


def frozen(model: Any) -> Any:
    """The model without gradients, in evaluation mode."""
    model.requires_grad_(False)
    return model.eval()


@contextmanager
def quiet_progress() -> Iterator[None]:
    """Keep the library's own progress bars off the terminal, where ours are."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
