"""Where tasks run: in this process, or on the workers of a Dask cluster.

In this process they run one after the other, and those that run the model or wait for files a few at
once: there is nothing to schedule, and Dask's distributed package stays off the path of a small run. With workers
or a scheduler address, Dask decides where each task runs, and runs it again elsewhere when a worker
dies. Keys and digests are the same.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Protocol

from pipeline.config import Config
from pipeline.flight import Flight, ItemProgress
from pipeline.graph import Node
from pipeline.task import Outcome, Task, execute

WINDOW = 4
"""Tasks handed to the scheduler at once, per worker: enough to keep it busy, few enough to stop."""


class Engine(Protocol):
    """Runs tasks and yields their outcomes as they come."""

    def run(
        self, tasks: Sequence[Task], node: Node, *, progress: ItemProgress
    ) -> Generator[Outcome, None, None]:
        """Run the tasks of a stage, started in the order given.

        Close the generator to drop what is in flight.
        """
        ...

    def close(self) -> None:
        """Let go of the workers."""
        ...


class InProcess:
    """Here: one task after the other, or as many at once as the stage allows.

    Of those that run the model up to `in_flight`.
    """

    def __init__(self, in_flight: int = 1) -> None:
        self._in_flight = in_flight

    def run(
        self, tasks: Sequence[Task], node: Node, *, progress: ItemProgress
    ) -> Generator[Outcome, None, None]:
        """Run the tasks, started in order."""
        at_once = min(self._in_flight if node.backbone else node.overlap, len(tasks))
        if at_once > 1 and not node.backbone:
            with _one_blas_thread():
                yield from Flight(tasks, at_once, progress).outcomes()
            return
        if at_once > 1:
            yield from Flight(tasks, at_once, progress).outcomes()
            return
        for task in tasks:
            yield execute(task, functools.partial(progress, task.item))

    def close(self) -> None:
        """Nothing to let go of."""


@contextlib.contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread for all items that are made at once here.

    The limit is the whole process's. Items that overlap, each taking it away at its end, would leave
    the others with more threads, and with other last bits.
    """
    import numpy  # noqa: F401 - the limit holds for what is loaded
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


class Cluster:
    """The workers of a local Dask cluster (`workers` > 0) or of a running one (`scheduler`).

    Where workers declare a resource GPU, each item that runs the model takes 1 of it: a worker
    started with `--nthreads 2 --resources GPU=2` has two in flight at its one GPU.
    """

    def __init__(self, *, workers: int = 0, scheduler: str = "") -> None:
        import dask
        from distributed import Client, LocalCluster

        # A worker that loses its scheduler on the way out says so in fifty lines. What matters
        # comes back as an outcome.
        dask.config.set({"logging.distributed": "critical"})
        self._cluster: Any = None
        if not scheduler:
            # One thread each: decoding and forward passes gain nothing from threads, and a worker
            # that is killed takes one item with it. No dashboard: nobody asked for an open port.
            self._cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                memory_limit=0,
                silence_logs=logging.CRITICAL,
            )
        self._client: Any = Client(
            self._cluster or scheduler, timeout=30, set_as_default=False, heartbeat_interval=2000
        )

    def run(
        self, tasks: Sequence[Task], node: Node, *, progress: ItemProgress
    ) -> Generator[Outcome, None, None]:
        """Run the tasks on the workers; one whose worker dies is run again on another."""
        from distributed import as_completed

        queue = iter(enumerate(tasks))
        resources = {"GPU": 1} if node.backbone and self._declares_gpu() else None
        ready = as_completed(loop=self._client.loop)
        running: dict[str, Task] = {}

        def submit_next() -> None:
            for rank, task in queue:
                future = self._client.submit(
                    execute, task, pure=False, priority=-rank, resources=resources
                )
                running[future.key] = task
                ready.add(future)
                return

        for _ in range(WINDOW * max(1, self._size())):
            submit_next()
        for future in ready:
            task = running.pop(future.key)
            error = future.exception()
            if error is None:
                yield future.result()
            else:
                yield Outcome(
                    task.item, "failed", error_class=type(error).__name__, message=str(error)
                )
            future.release()
            submit_next()

    def close(self) -> None:
        """Stop what is running, and the local workers with it."""
        # On the way out after a signal nothing here may hide what really happened.
        with contextlib.suppress(Exception):
            self._client.close(timeout=3)
        if self._cluster is not None:
            with contextlib.suppress(Exception):
                self._cluster.close(timeout=5)

    def _size(self) -> int:
        return len(self._client.scheduler_info(n_workers=-1)["workers"])

    def _declares_gpu(self) -> bool:
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return any("GPU" in worker.get("resources", {}) for worker in workers)


def make_engine(workers: int, scheduler: str, in_flight: int) -> Engine:
    """The engine that the settings ask for."""
    if scheduler or workers > 0:
        return Cluster(workers=workers, scheduler=scheduler)
    return InProcess(in_flight)


class Engines:
    """The engine, started when there is work and not before."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._engine: Engine | None = None

    def get(self) -> Engine:
        """The engine."""
        if self._engine is None:
            settings = self._config.run
            self._engine = make_engine(settings.workers, settings.scheduler, settings.in_flight)
        return self._engine

    def __enter__(self) -> Engines:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Let go of the workers, if there are any."""
        if self._engine is not None:
            self._engine.close()
