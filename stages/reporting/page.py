"""The page: the material of a run poured into one HTML file that asks for nothing else."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cache.ranges import ranges_of
from stages.reporting import charts, figures, provenance
from stages.reporting.coverage import remarks_of, view_of
from stages.reporting.heads import heads_of, named_heads, number
from stages.reporting.projections import projections_of
from stages.reporting.reading import Material
from stages.reporting.stability import stability_of
from stages.reporting.thresholds import thresholds_of
from stages.reporting.videos import Choice, Entry, group_of

FOLDER = Path(__file__).parent
MEASURES = (
    ("kl", "KL divergence", "nats"),
    ("ldr", "Linear discriminant ratio", ""),
    ("entropy", "Entropy", "bits"),
    ("silhouette", "Silhouette", ""),
    ("cv", "AUC of cross-validated probes", ""),
)


def render_page(
    material: Material, choice: Choice, entries: Sequence[Entry], *, note: str, explained: bool
) -> bytes:
    """The whole page as UTF-8; names that no text encoding holds are shown with backslashes.

    `explained` says whether the run made explanations at all. Everything that comes from files is
    escaped by the template engine; only the pictures, the style and the script go in as they are.
    """
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clock"] = clock
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    # Markup: these two files are part of this package.
    context = {
        "style": Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "script_digest": _digest(script),
        "note": note,
        "run": material.run,
        "title": material.run.get("name") or "run",
        "labels": provenance.labels_of(material.run),
        "splits": provenance.split_counts(material.videos),
        "material": material,
        "choice": choice,
        "entries": entries,
        "group_of": group_of,
        "explained": explained,
        **_metrics(material),
        **_layers(material),
        **stability_of(material.choice, material.layers),
        **projections_of(material),
        **heads_of(material),
        "fitted_on": _fitted_on(material.scorer or {}),
        **_probing(material),
        **thresholds_of(material),
        **_provenance(material),
    }
    return environment.get_template("page.html").render(context).encode("utf-8", "backslashreplace")


def clock(seconds: float) -> str:
    """Seconds for people: 7.5 s, 2 min 05 s, 1 h 02 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _digest(script: str) -> str:
    """What the page's security policy calls its one script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def _metrics(material: Material) -> dict[str, Any]:
    metrics = material.metrics
    if metrics is None:
        return {"headline": [], "curves": [], "missing": {"count": 0}}
    rivals = figures.rivals_of(metrics)
    return {
        "headline": figures.headline_of(metrics),
        "rivals": rivals,
        "pooled": [figures.row_of(metrics, path, path, "", "share") for path in figures.POOLED],
        "verdict": figures.verdict_of(rivals),
        "groups": figures.groups_of(metrics),
        "classes": figures.classes_of(metrics),
        "events": figures.events_of(metrics),
        "counts": figures.counts_of(metrics),
        "others": figures.others_of(metrics),
        "bootstrap": {"replicates": 0, **metrics.get("bootstrap", {})},
        "missing": metrics.get("missing") or {"count": 0, "videos": []},
        "view": view_of(metrics),
        "remarks": remarks_of(metrics),
        "curves": _curves(material),
    }


def _curves(material: Material) -> list[Markup]:
    metrics, drawn = material.metrics or {}, []
    if "roc" in material.curves:
        auc = figures.per_cent(metrics.get("auc"))
        drawn.append(charts.draw_roc("roc", *material.curves["roc"], auc))
    if "pr" in material.curves:
        ap, share = figures.per_cent(metrics.get("ap")), figures.prevalence_of(metrics)
        drawn.append(charts.draw_pr("pr", *material.curves["pr"], ap, share))
    return drawn


def _layers(material: Material) -> dict[str, Any]:
    """The sum score and the measures of every layer, as pictures and as a table."""
    columns, choice = material.layers, material.choice
    if columns is None or choice is None:
        return {"layer_rows": [], "sum_picture": "", "layer_pictures": []}
    numbers, chosen = columns["layer"], choice["layer"]
    parts = zip(columns["z_kl"], columns["z_ldr"], columns["z_entropy"], strict=True)
    sums = [None if None in part else sum(part) for part in parts]
    rows = [
        {
            "layer": layer,
            "chosen": layer == chosen,
            "score": number(sums[i]),
            "rank": number(columns["score"][i]),
            "wins": figures.per_cent(columns["wins"][i]),
            "cv_std": number(columns["cv_std"][i]),
            "silhouette_se": number(columns["silhouette_se"][i] or None),
            **{name: number(columns[name][i]) for name, _, _ in MEASURES},
        }
        for i, layer in enumerate(numbers)
    ]
    pictures = [
        (f"{name}, {unit}" if unit else name,
         charts.draw_layers(f"layer-{key}", name, numbers, columns[key], chosen, 440))
        for key, name, unit in MEASURES if any(value is not None for value in columns[key])
    ]  # fmt: skip
    return {
        "layer_rows": rows,
        "layers_kept": ranges_of(numbers),
        "sum_picture": charts.draw_layers("layer-sum", "Sum score S", numbers, sums, chosen, 920),
        "layer_pictures": pictures,
        "summed": choice["method"] == "dlsp",
    }


def _fitted_on(scorer: Mapping[str, Any]) -> str:
    """What a scorer reads, in words; empty where its record does not say."""
    if scorer.get("heads"):
        steered = f", steered by layer {scorer['context']}" if "context" in scorer else ""
        return f"on heads {named_heads(scorer['heads'])}{steered}"
    return f"at layer {scorer['layer']}" if "layer" in scorer else ""


def _most_bits(table: Mapping[str, Any] | None) -> float:
    """The highest entropy that a histogram of so many bins and samples can have, bits."""
    if table is None or "bins" not in table:
        return 0.0
    return math.log2(min(table["bins"], table["n_normal"] + table["n_anomalous"]))


def _probing(material: Material) -> dict[str, Any]:
    scorer, probing = material.scorer, material.probing
    if scorer is None or probing is None:
        return {"probing_picture": ""}
    threshold = material.threshold["threshold"] if material.threshold else None
    picture = charts.draw_probing("probing", *probing, scorer["mu"], scorer["sigma"], threshold)
    return {"probing_picture": picture}


def _provenance(material: Material) -> dict[str, Any]:
    scorer = {k: v for k, v in (material.scorer or {}).items() if k != "features"}
    features = (material.scorer or {}).get("features") or {}
    failed = material.run.get("failed") or []
    used, lost = provenance.probing_of(material.videos, failed)
    return {
        "sections": provenance.sections_of(material.run),
        "backbone": provenance.flatten(material.run.get("backbone") or {}),
        "scorer_rows": provenance.flatten(scorer),
        "feature_rows": provenance.flatten(features) if isinstance(features, dict) else [],
        "dataset": material.run.get("sections", {}).get("index", {}).get("kind", ""),
        "most_bits": _most_bits(material.table),
        "table_rows": provenance.flatten(material.table or {}),
        "own_fit": material.choice is not None,
        "probing_videos": used,
        "probing_lost": lost,
        "labelled_tests": sum(
            video["split"] == "test" and video["label"] is not None for video in material.videos
        ),
        "failed": failed,
    }
