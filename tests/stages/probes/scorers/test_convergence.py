"""What becomes of the warnings of a fit, however many run at once."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from sklearn.exceptions import ConvergenceWarning

from stages.probes.scorers import LogisticScorer
from stages.probes.scorers.convergence import watched
from tests.fitting import options, samples


def warned(*categories: type[Warning]) -> bool:
    """Whether a fit that gives these warnings counts as converged."""
    with watched() as outcome:
        for category in categories:
            warnings.warn("as an optimiser does", category, stacklevel=1)
    return outcome.converged


def test_a_convergence_warning_becomes_an_outcome() -> None:
    assert warned()
    assert not warned(ConvergenceWarning)
    assert warned()
    assert not warned(ConvergenceWarning)  # not once for a place in the code


def test_another_warning_is_passed_on() -> None:
    with pytest.warns(RuntimeWarning, match="as an optimiser does") as seen:
        converged = warned(RuntimeWarning, ConvergenceWarning)
    assert not converged
    assert [warning.category for warning in seen] == [RuntimeWarning]


def test_afterwards_warnings_are_what_they_were() -> None:
    filters, show = list(warnings.filters), warnings.showwarning
    with pytest.raises(ValueError, match="in the fit"), watched():
        raise ValueError("in the fit")
    assert (warnings.filters, warnings.showwarning) == (filters, show)
    with pytest.warns(ConvergenceWarning):
        warnings.warn("outside of any fit", ConvergenceWarning, stacklevel=1)


def test_a_warning_of_another_thread_is_not_one_of_this_fit() -> None:
    began, warned_there = threading.Event(), threading.Event()

    def other() -> bool:
        with watched() as outcome:
            began.set()
            warned_there.wait(10)
        return outcome.converged

    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(other)
        began.wait(10)
        assert not warned(ConvergenceWarning)
        warned_there.set()
        assert found.result()


def test_many_fits_at_once_each_know_how_they_ended() -> None:
    """Begun and ended in any order; half of them stop early."""
    filters = list(warnings.filters)
    rows, labels = samples()

    def one(number: int) -> bool:
        given = options(max_iter=1 if number % 2 else 1000)
        return LogisticScorer.fit(rows, labels, given)[1].converged

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(one, range(120))) == [number % 2 == 0 for number in range(120)]
    assert warnings.filters == filters
