"""Adam, full batch (Kingma and Ba 2015)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stages.probes.spans import Floats

FIRST, SECOND = 0.9, 0.999
"""What is kept of the running means of the gradient and of its square."""
FLOOR = 1e-8

LossInto = Callable[[Floats, Floats], float]
"""The loss at parameters; writes its gradient into the second argument."""


def minimise(loss: LossInto, start: Floats, steps: int, rate: float) -> tuple[Floats, Floats]:
    """The parameters after so many steps, and the loss before every step and after the last one.

    Each step moves by `rate` times the mean gradient over the root of its mean square.
    """
    at, gradient = start.copy(), np.zeros_like(start)
    mean, square, step = (np.zeros_like(start) for _ in range(3))
    losses = np.empty(steps + 1)
    for number in range(1, steps + 1):
        losses[number - 1] = loss(at, gradient)
        mean *= FIRST
        mean += (1 - FIRST) * gradient
        square *= SECOND
        np.multiply(gradient, gradient, out=step)
        step *= 1 - SECOND
        square += step
        np.divide(square, 1 - SECOND**number, out=step)
        np.sqrt(step, out=step)
        step += FLOOR
        np.divide(mean, step, out=step)
        step *= rate / (1 - FIRST**number)
        at -= step
    losses[steps] = loss(at, gradient)
    return at, losses
