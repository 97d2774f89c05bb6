"""Coarse tasks for Dask, on whatever scheduler: threads, processes, a cluster, or none."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import dask

Scheduler = Any
"""What dask.compute takes: "threads", "processes", "synchronous", or a distributed Client."""


def task(function: Callable[..., Any], *arguments: Any) -> Any:
    """A task that calls `function`; it looks for no other tasks inside the arguments."""
    # Dask would walk through every field of every video to find some, for every task.
    return dask.delayed(functools.partial(function, *arguments), traverse=False)()


def follow(function: Callable[[Any], Any], before: Any) -> Any:
    """A task that calls `function` with the result of another."""
    return dask.delayed(function)(before)


def joined(tasks: Sequence[Any], join: Callable[[Any, Any], Any]) -> Any:
    """One task that joins the results of all, pairwise and in order, so that few of them wait.

    It halves the tasks again and again: the same tree for the same number, whoever runs it.
    """
    if len(tasks) == 1:
        return tasks[0]
    middle = len(tasks) // 2
    return dask.delayed(join)(joined(tasks[:middle], join), joined(tasks[middle:], join))


def computed(tasks: Sequence[Any], scheduler: Scheduler, workers: int) -> list[Any]:
    """The results of tasks; `workers` are threads or processes where the scheduler is of these."""
    local = {"num_workers": workers} if scheduler in ("threads", "processes") else {}
    return list(dask.compute(*tasks, scheduler=scheduler, optimize_graph=False, **local))
