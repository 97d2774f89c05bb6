"""Whether two runs differ by more than the choice of test videos: the paired bootstrap."""

from __future__ import annotations

import numpy as np

from stages.probes.spans import Floats

TIE = 1e-12
"""Differences up to this are rounding: equal figures are sums in another order."""


def paired_p_value(first: Floats, second: Floats) -> float | None:
    """Two-sided p-value of a figure's difference between two runs, by the percentile bootstrap.

    `first` and `second` hold the figure in every replicate, [replicates], NaN where it is not
    defined; replicate by replicate both rest on the same drawn videos. Over the R replicates in which
    both are defined, with d = second - first,

        p = min(1, 2 (min(#(d <= 0), #(d >= 0)) + 1) / (R + 1)).

    The ones keep p above 0 (Davison and Hinkley, Bootstrap Methods, 1997, section 4.2): the smallest
    value that can come out is 2 / (R + 1), 0.002 with 1,000 replicates. None where R is 0.
    """
    difference = second - first
    defined = difference[~np.isnan(difference)]
    if len(defined) == 0:
        return None
    tail = min(int((defined <= TIE).sum()), int((defined >= -TIE).sum()))
    return min(1.0, 2 * (tail + 1) / (len(defined) + 1))
