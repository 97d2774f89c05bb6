"""From the CPU to the device, without waiting for what the device is doing."""

from __future__ import annotations

import torch


def upload(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on the device. To a GPU the copy is queued behind the pass that still runs there.

    A plain copy would wait for that pass to end: only pinned memory can be copied later.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.contiguous().pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
