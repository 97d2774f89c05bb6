"""A run tells its store what it reaches, so that nobody's garbage collection takes it away."""

from __future__ import annotations

from collections.abc import Mapping

from cache.errors import StoreTooNew
from cache.roots import Root, renew_root, root_id
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

    def save(self, world: World, plans: Mapping[str, StagePlan]) -> str:
        """Write what these plans reach, made or not; returns what kept it from that, in words.

        What the run reached before counts until all is made: whoever interrupts a run, or makes a
        part of it, may go back.
        """
        reach = {name: plan.keys for name, plan in plans.items() if plan.keys}
        whole = len(plans) == len(world.versions)
        done = whole and all(plan.off or _is_done(plan) for plan in plans.values())
        features = {"backbone": world.backbone, "videos": len(world.videos or ())}
        root = Root(self._id, self._name, reach, features=features)
        try:
            renew_root(self._store, root, complete=done)
        except (OSError, StoreTooNew) as error:
            why = error.strerror if isinstance(error, OSError) else error
            return (
                f"the store has no note of what this run reaches ({why}): `hiprobe cache gc` may "
                "collect it"
            )
        return ""


def _is_done(plan: StagePlan) -> bool:
    # What failed or is blocked does not keep a run open: a damaged video would do so for ever.
    return not (plan.todo or plan.waiting or plan.unselected)
