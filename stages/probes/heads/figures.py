"""How far apart the two classes lie in the vectors of an attention head.

HeadHunt-VAD (arXiv 2512.17601) ranks heads by four figures, SteerVAD (arXiv 2602.24021) by one.
Rows are float64 [heads, n, dim], labels [n] of 0 and 1 with both present; every figure is [heads]
and NaN where it is not defined, as for a head that says the same of every segment.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from stages.probes.spans import Floats, Ints


def separability(rows: Floats, labels: Ints) -> Floats:
    """||muA - muN||^2 / (s2_A + s2_N) (SteerVAD).

    s2 is the mean squared distance of the rows of a class from their mean.
    """
    (normal, n_rest), (anomalous, a_rest) = (_centred(rows[:, labels == c]) for c in (0, 1))
    spread = sum(np.einsum("hnd,hnd->h", rest, rest) / rest.shape[1] for rest in (n_rest, a_rest))
    gap = anomalous - normal
    return _divided(np.einsum("hd,hd->h", gap, gap), np.asarray(spread))


def lda(rows: Floats, labels: Ints, eps: float) -> Floats:
    """(muA - muN)^T S_W^-1 (muA - muN), S_W the pooled covariance within the classes.

    There may be fewer rows than dimensions, and then S_W has no inverse; it is shrunk as
    `shrunk_covariance` says. Fisher's scatter is n times this, which no ranking sees.
    """
    (normal, n_rest), (anomalous, a_rest) = (_centred(rows[:, labels == c]) for c in (0, 1))
    within = shrunk_covariance(np.concatenate([n_rest, a_rest], axis=1), eps)
    return _squared_length(anomalous - normal, _inverse(within))


def symmetric_kl(rows: Floats, labels: Ints, eps: float) -> Floats:
    """(KL(A || N) + KL(N || A)) / 2 of Gaussians with the classes' means and covariances, nats.

    The covariances are those of `shrunk_covariance`. The two logarithms of determinants cancel.
    """
    (normal, n_rest), (anomalous, a_rest) = (_centred(rows[:, labels == c]) for c in (0, 1))
    n_cov, a_cov = shrunk_covariance(n_rest, eps), shrunk_covariance(a_rest, eps)
    n_inverse, a_inverse = _inverse(n_cov), _inverse(a_cov)
    traces = np.einsum("hij,hij->h", n_inverse, a_cov) + np.einsum("hij,hij->h", a_inverse, n_cov)
    gap = _squared_length(anomalous - normal, n_inverse + a_inverse)
    return np.asarray((traces - 2 * rows.shape[2] + gap) / 4)


def mmd(rows: Floats, labels: Ints) -> Floats:
    """Squared maximum mean discrepancy with a Gaussian kernel (Gretton et al. 2012, eq 5).

    k(x, y) = exp(-|x - y|^2 / (2 sigma^2)), where sigma^2 is the median of the squared distances
    between two different rows, of whatever class. The estimate is the biased one, which is never
    negative.
    """
    anomalous, pairs = labels == 1, np.triu_indices(rows.shape[1], 1)
    # One head at a time: its matrix of [n, n] is what the memory is for.
    return np.asarray([_mmd(one, anomalous, pairs) for one in _centred(rows)[1]])


def nmi(rows: Floats, labels: Ints, *, starts: int, seed: int) -> Floats:
    """Normalised mutual information of the labels and the two clusters of K-means.

    The best of `starts` starts by k-means++; normalised by the arithmetic mean of both entropies.
    The last bits of sums over rows depend on the number of BLAS threads: limit them to one.
    """
    return np.asarray([_nmi(one, labels, starts, seed) for one in rows])


def shrunk_covariance(centred: Floats, eps: float) -> Floats:
    """Ledoit-Wolf covariance [heads, dim, dim] of rows [heads, n, dim] whose mean is zero.

    (1 - s) S + s m I, where S is the covariance (ddof 0), m the mean of its diagonal, and s the
    share that Ledoit and Wolf (2004) estimate from the rows, but at least `eps`: of two rows they
    shrink nothing, and S has no inverse.
    """
    _, n, dim = centred.shape
    plain = np.matmul(centred.transpose(0, 2, 1), centred) / n
    level = np.trace(plain, axis1=1, axis2=2) / dim
    length = np.einsum("hnd,hnd->hn", centred, centred)
    square = np.einsum("hij,hij->h", plain, plain)
    noise = (np.mean(length**2, axis=1) - square) / n
    distance = square - dim * level**2
    share = np.divide(noise, distance, out=np.zeros_like(noise), where=distance > 0)
    share = np.clip(share, eps, 1.0)[:, None, None]
    return np.asarray((1 - share) * plain + share * level[:, None, None] * np.eye(dim))


def _centred(rows: Floats) -> tuple[Floats, Floats]:
    """The mean [heads, dim] over the rows, and the rows without it."""
    mean = rows.mean(axis=1)
    return mean, rows - mean[:, None]


def _inverse(covariance: Floats) -> Floats:
    """The inverses of some covariances; NaN for one that is zero."""
    empty = np.trace(covariance, axis1=1, axis2=2) <= 0
    found = np.linalg.inv(np.where(empty[:, None, None], np.eye(covariance.shape[1]), covariance))
    found[empty] = np.nan
    return np.asarray(found)


def _squared_length(gap: Floats, inverse: Floats) -> Floats:
    return np.asarray(np.einsum("hi,hij,hj->h", gap, inverse, gap, optimize=True))


def _divided(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def _mmd(rows: Floats, anomalous: npt.NDArray[np.bool_], pairs: tuple[Ints, Ints]) -> float:
    length = np.einsum("nd,nd->n", rows, rows)
    squares = np.maximum(length[:, None] + length - 2 * (rows @ rows.T), 0.0)
    np.fill_diagonal(squares, 0.0)
    scale = float(np.median(squares[pairs]))
    if scale <= 0:
        return float("nan")
    kernel = np.exp(squares / (-2 * scale))
    both = kernel[np.ix_(anomalous, ~anomalous)].mean()
    own = (
        kernel[np.ix_(anomalous, anomalous)].mean() + kernel[np.ix_(~anomalous, ~anomalous)].mean()
    )
    return float(own - 2 * both)


def _nmi(rows: Floats, labels: Ints, starts: int, seed: int) -> float:
    if (rows == rows[0]).all():
        return float("nan")  # there are no two clusters
    found = KMeans(2, n_init=starts, random_state=seed).fit(rows).labels_
    return float(normalized_mutual_info_score(labels, found))
