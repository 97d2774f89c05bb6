"""The store of a run, with the shared ones under it."""

from __future__ import annotations

from cache.errors import ConfigError
from cache.store import Store
from pipeline.config import Config


def open_store(config: Config) -> Store:
    """Open the store of a configuration, making it where it is missing.

    Raises NotAStore, also for a shared store that is not there; StoreTooNew; ConfigError for one
    that is named twice.
    """
    if config.store in config.shared or len({*config.shared}) < len(config.shared):
        raise ConfigError(
            f"{config.origin}: cache.shared names a store twice, or the store of the run itself"
        )
    return Store.open(config.store, config.shared)
