"""What the small checkpoints of all families share: noise in every weight, and how they are saved."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.backbones.weights import quiet_progress


def draw_noise(model: Any, seed: int = 0) -> None:
    """Noise on every parameter and nothing left at zero or one, where a test would see nothing."""
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            shape = tuple(parameter.shape)
            noise = generator.standard_normal(shape, dtype=np.float32)
            if len(shape) == 1:
                around = 1.0 if name.endswith("weight") else 0.0
                values = around + 0.1 * noise
            elif "embed_tokens" in name:
                values = noise
            else:
                gain = 2.0 if "q_proj" in name or "k_proj" in name else 1.0
                values = noise * gain / math.sqrt(math.prod(shape[1:]))
            parameter.copy_(torch.from_numpy(np.asarray(values, dtype=np.float32)))


def save(folder: Path, model: Any, tokenizer: Any) -> None:
    """Write model and tokenizer as a checkpoint folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with quiet_progress():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
