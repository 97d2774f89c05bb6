"""The model as it is trained: its losses on pictures and on clips."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from demo.examples import Batch
from demo.glances import Glances
from demo.patches import CELLS, NOBODY, Patches

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EMPTY_WEIGHT, PART_WEIGHT = 0.15, 6.0
"""Most patches show nothing, and most cells of the others no part: what counts against that."""


class Student(torch.nn.Module):
    """The model, and a layer beside it that only training has.

    `parts` is what the loss of the parts in a patch counts beside that of its kind.
    """

    def __init__(self, model: Any, seed: int, parts: float) -> None:
        super().__init__()
        self.model = model
        self._parts = parts
        width = model.config.vision_config.hidden_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.patches = torch.nn.Linear(width, NOBODY + 1 + CELLS)
        """Says of each patch which act and which parts it shows."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.patches.weight.device

    def look(self, glances: Glances) -> torch.Tensor:
        """Loss of the patches of single pictures."""
        with torch.autocast(self.device.type, torch.bfloat16):
            seen = self.model.model.vision_tower(self._pixels(glances.pictures))
        return self._patch_loss(seen.last_hidden_state, glances.patches)

    def answer(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of the answers, in which every clip counts the same, and loss of the patches."""
        device = self.device
        chosen = (batch.targets >= 0).to(device)
        unseen = torch.finfo(torch.float32).min
        mask = torch.zeros(batch.mask.shape).masked_fill(~batch.mask, unseen).to(device)
        inner = self.model.model
        seen: list[torch.Tensor] = []
        hook = inner.vision_tower.register_forward_hook(
            lambda *a: seen.append(a[2].last_hidden_state)
        )
        with torch.autocast(device.type, torch.bfloat16):
            hidden = inner(
                input_ids=batch.ids.to(device),
                pixel_values=self._pixels(batch.pictures.flatten(0, 1).numpy()),
                attention_mask=mask,
                position_ids=batch.positions.to(device),
                use_cache=False,
            ).last_hidden_state
            logits = self.model.lm_head(hidden[chosen]).float()
        hook.remove()
        wanted, counts = (part.to(device)[chosen] for part in (batch.targets, batch.weights))
        losses = cross_entropy(logits, wanted, reduction="none")
        return (losses * counts).sum() / counts.sum(), self._patch_loss(seen[0], batch.patches)

    def _pixels(self, pictures: NDArray[np.uint8]) -> torch.Tensor:
        shown = torch.from_numpy(pictures).to(self.device).movedim(-1, 1).float() / 255
        mean, std = (torch.tensor(v, device=self.device)[:, None, None] for v in (MEAN, STD))
        return (shown - mean) / std

    def _patch_loss(self, hidden: torch.Tensor, wanted: Patches) -> torch.Tensor:
        device = self.device
        with torch.autocast(device.type, torch.bfloat16):
            said = self.patches(hidden[:, 1:]).float()
        weights = torch.ones(NOBODY + 1, device=device)
        weights[NOBODY] = EMPTY_WEIGHT
        kinds = torch.from_numpy(wanted.kinds).to(device).flatten()
        parts = torch.from_numpy(wanted.parts).to(device).float()
        kind_loss = cross_entropy(said[..., : NOBODY + 1].flatten(0, 1), kinds, weight=weights)
        more = torch.tensor(PART_WEIGHT, device=device)
        part_loss = binary_cross_entropy_with_logits(
            said[..., NOBODY + 1 :], parts, pos_weight=more
        )
        return kind_loss + self._parts * part_loss
