"""The tables that a probe is made through: figures of layers and heads, and the scores of its rows."""

from __future__ import annotations

from manifests.columns import LAYER, SEGMENT, SPAN, SPLIT, VIDEO_ID, Column, TableSchema

LAYERS = TableSchema(
    "layers",
    2,
    "what the probing subset says of every layer",
    (
        LAYER,
        Column("n_normal", "int64", "normal samples"),
        Column("n_anomalous", "int64", "anomalous samples"),
        Column("kl", "float64", "mean over dimensions of the KL divergence, nats (eq 1-2)"),
        Column("ldr", "float64", "mean over dimensions of the discriminant ratio (eq 3-4)"),
        Column(
            "entropy", "float64", "mean over dimensions of the histogram entropy, bits (eq 5-6)"
        ),
        Column("silhouette", "float64", "silhouette score of the two classes"),
        Column("silhouette_se", "float64", "its standard error; 0 where it rests on all samples"),
    ),
    ("layer",),
)

LAYER_REPLICATES = TableSchema(
    "layer_replicates",
    1,
    "what every replicate of a bootstrap over the probing videos says of every layer",
    (
        Column("replicate", "int32", "number of the replicate, from 0"),
        LAYER,
        *(
            Column(c.name, c.type, f"{c.doc}; null where a class is not drawn", nullable=True)
            for c in LAYERS.columns
            if c.name in ("kl", "ldr", "entropy", "silhouette")
        ),
    ),
    ("replicate", "layer"),
)

CROSS_VALIDATION = TableSchema(
    "cross_validation",
    1,
    "how well a probe at every layer tells the classes apart in videos that it has not seen",
    (
        LAYER,
        Column("n_normal", "int64", "normal samples"),
        Column("n_anomalous", "int64", "anomalous samples"),
        Column("cv", "float64", "ROC AUC of the rows of a fold, mean over the folds"),
        Column("cv_std", "float64", "its deviation over the folds (ddof 0)"),
        Column("cv_pooled", "float64", "ROC AUC of the rows of all folds in one pool"),
        Column("not_converged", "int64", "folds whose fit had not converged"),
    ),
    ("layer",),
)

CV_REPLICATES = TableSchema(
    "cv_replicates",
    1,
    "the same in every replicate of a bootstrap over the probing videos",
    (
        Column("replicate", "int32", "number of the replicate, from 0"),
        LAYER,
        Column("cv", "float64", "null where no fold has both classes", nullable=True),
    ),
    ("replicate", "layer"),
)

SELECTION = TableSchema(
    "selection",
    2,
    "every figure that the choice of a layer rests on",
    (
        *LAYERS.columns,
        *(Column(c.name, c.type, c.doc, nullable=True) for c in CROSS_VALIDATION.columns[3:6]),
        Column("z_kl", "float64", "z-score of kl over the kept layers from 1", nullable=True),
        Column("z_ldr", "float64", "z-score of ldr over the kept layers from 1", nullable=True),
        Column(
            "z_entropy", "float64", "z-score of entropy over the kept layers from 1", nullable=True
        ),
        Column("score", "float64", "what the method ranks the layers by", nullable=True),
        Column(
            "wins",
            "float64",
            "share of the bootstrap replicates in which the method chooses this layer",
            nullable=True,
        ),
        Column("chosen", "bool", "whether the scorer is fitted on this layer"),
    ),
    ("layer",),
)

HEAD_FIGURES = tuple(
    Column(name, "float64", doc, nullable=True)
    for name, doc in (
        ("lda", "squared Mahalanobis distance of the class means, within-class covariance"),
        ("kl", "KL divergence of the classes as Gaussians, mean of both directions, nats"),
        ("mmd", "squared maximum mean discrepancy of the classes, Gaussian kernel"),
        ("nmi", "normalised mutual information of the labels and two clusters of K-means"),
        ("separability", "squared distance of the class means over the sum of both variances"),
    )
)

HEADS = TableSchema(
    "heads",
    1,
    "what the probing subset says of every attention head; a figure that is not defined is null",
    (
        Column("layer", "int32", "decoder layer of the head, from 0"),
        Column("head", "int32", "number of the head in its layer, from 0"),
        Column("prompt", "int32", "number of the prompt in forward.prompts, from 0"),
        Column("n_normal", "int64", "normal samples"),
        Column("n_anomalous", "int64", "anomalous samples"),
        *HEAD_FIGURES,
    ),
    ("layer", "head", "prompt"),
)

HEAD_REPLICATES = TableSchema(
    "head_replicates",
    1,
    "the separability of every head in every replicate of a bootstrap over the probing videos",
    (
        *HEADS.columns[:3],
        Column("replicate", "int32", "number of the replicate, from 0"),
        HEAD_FIGURES[4],
    ),
    ("layer", "head", "prompt", "replicate"),
)

HEAD_SELECTION = TableSchema(
    "head_selection",
    2,
    "every figure that the choice of heads rests on",
    (
        *HEADS.columns,
        *(
            Column(
                f"scaled_{c.name}", "float64", f"{c.name} in [0, 1] over all heads", nullable=True
            )
            for c in HEAD_FIGURES[:4]
        ),
        Column("saliency", "float64", "mean of the four scaled figures", nullable=True),
        Column(
            "rss",
            "float64",
            "mean of the saliency over all prompts less select.heads_lambda of its deviation; the "
            "same in every row of a head",
            nullable=True,
        ),
        Column("score", "float64", "what the method ranks the heads by", nullable=True),
        Column(
            "wins",
            "float64",
            "share of the bootstrap replicates in which the method chooses this head; the same in "
            "every row of a head",
            nullable=True,
        ),
        Column("chosen", "bool", "whether the scorer is fitted on this head"),
    ),
    ("layer", "head", "prompt"),
)

TRAINING_ROWS = TableSchema(
    "training_rows",
    1,
    "the videos that the figures of layers or heads rest on, and their rows",
    (
        VIDEO_ID,
        SPLIT,
        Column("n_normal", "int64", "normal samples"),
        Column("n_anomalous", "int64", "anomalous samples"),
    ),
    ("video_id",),
)

PROBING_SCORES = TableSchema(
    "probing_scores",
    3,
    "the scorer's scores on the rows that it was fitted on",
    (
        VIDEO_ID,
        SPLIT,
        Column("digest", "string", "sha256 of the file of the video"),
        SEGMENT,
        *SPAN,
        Column("label", "int32", "0 normal, 1 anomalous, as used in the fit"),
        Column("score", "float64", "probability of an anomaly"),
        Column(
            "held_out",
            "float64",
            "the same by a scorer that was fitted without this video; null where there is none",
            nullable=True,
        ),
    ),
    ("video_id", "segment"),
)

SENSITIVITY = TableSchema(
    "sensitivity",
    1,
    "what a threshold of mu + kappa sigma does on training rows, by kappa; labels as in the fit",
    (
        Column("kappa", "float64", "deviations above the mean of the fitted rows' scores"),
        Column("threshold", "float64", "T = mu + kappa sigma"),
        Column("precision", "float64", "anomalous share of the frames above T", nullable=True),
        Column("recall", "float64", "share of the anomalous frames that are above T"),
        Column("f1", "float64", "harmonic mean of precision and recall of the frames"),
        Column("normal_above", "float64", "share of the normal frames that are above T"),
        Column(
            "alarms_per_hour",
            "float64",
            "runs above T in normal videos, per hour of these; null where they have no length",
            nullable=True,
        ),
    ),
    ("kappa",),
)

PROJECTIONS = TableSchema(
    "projections",
    1,
    "rows of the probing videos in the plane",
    (
        Column("what", "string", "what the rows are of: layer N, or heads"),
        Column("method", "string", "pca or tsne"),
        VIDEO_ID,
        SEGMENT,
        Column("label", "int32", "0 normal, 1 anomalous, as used in the fit"),
        Column("x", "float64", "pca: along the first component; tsne: without a unit"),
        Column("y", "float64", "along the second"),
    ),
    ("what", "method", "video_id", "segment"),
)
