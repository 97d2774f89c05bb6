"""The world of a run that starts from a bundle: no videos, no lists, no model are looked at."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping

from cache.catalog import StageCatalog, load_catalog
from cache.errors import ConfigError
from cache.keys import differences
from cache.store import Store
from pipeline.bundles.contents import CONFIG, Bundle, open_bundle, read_dataset
from pipeline.bundles.description import world_values
from pipeline.config import Config, load_config
from pipeline.graph import GRAPH, NODES
from pipeline.values import recipe_of_node
from pipeline.world import Failure, World

MADE = ("decode", "sample", "forward", "forward_selected")
"""The stages that a bundle was made by, and that nothing in it can make again."""


def world_of_bundle(
    config: Config, store: Store, failures: Mapping[str, Mapping[str, Failure]]
) -> World:
    """The world of a configuration that names a bundle, but for its videos and an outside scorer.

    `failures` are those of this run, beside which the bundle remembers its own. Raises ConfigError where this configuration is not of the states that the bundle holds, and what
    `open_bundle` raises.
    """
    folder = config.path("run", "bundle")
    assert folder is not None, "a configuration without a bundle has its world gathered"
    bundle = open_bundle(folder)
    values = world_values(bundle, read_dataset(bundle))
    values["failures"] = {
        stage: {**values["failures"].get(stage, {}), **failures.get(stage, {})} for stage in NODES
    }
    committed = load_catalog(store, NODES)
    held = Store(bundle.artifacts)
    for stage in MADE:
        # What the bundle holds of these is read in the place of their payload: nothing is restored.
        catalog = committed.get(stage) or StageCatalog()
        catalog.evicted -= held.listing(stage).evicted
    world = World(
        config=config,
        versions={node.name: importlib.import_module(node.module).VERSION for node in GRAPH},
        committed=committed,
        backbone=bundle.backbone,
        backbone_here=False,
        bundle=bundle,
        **values,
    )
    _require_same_recipe(world, bundle)
    return world


def _require_same_recipe(world: World, bundle: Bundle) -> None:
    """Raise ConfigError, field by field, for another backbone, sampling or pass than the bundle's."""
    config = world.config
    identity = config.sections["backbone"].identity
    if identity and identity != bundle.backbone:
        raise ConfigError(
            f"backbone.identity is {identity}, the bundle {bundle.path.name} was made by "
            f"{bundle.backbone}: leave it empty"
        )
    made = dataclasses.replace(world, config=load_config(bundle.path / CONFIG))
    lines = [
        f"  forward.test_layers: the bundle {a!r}, this run {b!r}"
        for a, b in [[c.sections["forward"].test_layers for c in (made.config, config)]]
        if a != b
    ]
    for stage in MADE:
        old, new = (recipe_of_node(NODES[stage], each) for each in (made, world))
        lines += [
            f"  {NODES[stage].section}.{path}: the bundle {a!r}, this run {b!r}"
            for path, a, b in differences(old, new)
        ]
    if lines:
        raise ConfigError(
            f"the bundle {bundle.path.name} was made with other settings, and holds no videos and "
            "no model to make it anew:\n" + "\n".join(dict.fromkeys(lines))
        )
