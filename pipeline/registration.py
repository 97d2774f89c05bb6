"""A run tells its store what it reaches, so that nobody's garbage collection takes it away."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from cache.errors import StoreError
from cache.roots import Reach, Root, merged, read_root, root_id, write_root
from cache.store import Store
from pipeline.config import Config
from pipeline.plan import StagePlan
from pipeline.world import World


class Registration:
    """The root of one run in its store."""

    def __init__(self, config: Config, store: Store) -> None:
        self._store = store.root
        self._name = config.run.name
        self._id = root_id(self._name, config.results)

    def save(self, world: World, plans: Mapping[str, StagePlan]) -> None:
        """Write what these plans reach, made or not.

        What the run reached before counts until all is made: whoever interrupts a run, or makes a
        part of it, may go back. Raises OSError where the store cannot be written.
        """
        reach: Reach = {name: plan.keys for name, plan in plans.items() if plan.keys}
        done = all(plan.off or _is_done(plan) for plan in plans.values())
        if not done or len(plans) < len(world.versions):
            # One that cannot be read is no reason to stop: this run writes it anew.
            with contextlib.suppress(StoreError, FileNotFoundError):
                path = self._store / "roots" / f"{self._id}.txt"
                reach = merged(read_root(path).reach, reach)
        features = {"backbone": world.backbone, "videos": len(world.videos or ())}
        write_root(self._store, Root(self._id, self._name, reach, features=features))


def _is_done(plan: StagePlan) -> bool:
    return not (plan.todo or plan.waiting or plan.unselected)
