"""What a run is asked for, and what it says that it did."""

from __future__ import annotations

from dataclasses import dataclass, field

from cache.errors import ConfigError
from pipeline.gather import Choices
from pipeline.graph import GRAPH, NODES
from pipeline.plan import StagePlan
from pipeline.world import Failure

ORDER = {node.name: place for place, node in enumerate(GRAPH)}


@dataclass(frozen=True, slots=True)
class Options:
    """What `hiprobe run` was asked for, beside the configuration."""

    until: str = ""
    only: str = ""
    choices: Choices = field(default_factory=Choices)
    even_if_short: bool = False
    """Begin also where the disk is too small for what is to be made."""

    def wants(self, stage: str) -> bool:
        """Whether a stage is to be made."""
        if self.until and ORDER[stage] > ORDER[self.until]:
            return False
        return self.only in ("", stage)


@dataclass(slots=True)
class Summary:
    """What a run did."""

    plans: dict[str, StagePlan] = field(default_factory=dict)
    built: dict[str, int] = field(default_factory=dict)
    """Artifacts made, by stage."""
    asked: frozenset[str] = frozenset(NODES)
    """The stages that --until and --only leave."""
    notes: list[str] = field(default_factory=list)
    quarantined: list[tuple[str, str]] = field(default_factory=list)
    """(stage, key) of damaged artifacts that were set aside."""
    seconds: float = 0.0

    @property
    def failures(self) -> list[tuple[str, Failure]]:
        """(stage, failure) of every item that failed."""
        return [(name, f) for name, plan in self.plans.items() for f in plan.failed.values()]


def check_stage(name: str, option: str) -> None:
    """Raise ConfigError where an option names no stage."""
    if name and name not in NODES:
        raise ConfigError(f"{option} {name}: the stages are {', '.join(NODES)}")
