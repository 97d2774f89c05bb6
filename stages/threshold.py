"""Stage threshold (a data set): the score above which a frame counts as anomalous."""

from __future__ import annotations

from cache.digest import write_json
from stages.contract import Job, Result
from stages.probes.localization_settings import Settings as Settings
from stages.probes.localization_settings import fixed_threshold

VERSION = 1


def compute(job: Job[Settings]) -> Result:
    """Write threshold.json: the threshold, and what it rests on.

    Reads "scorer", whose probing scores must be of training rows alone, whatever the rule: raises
    LeakageError otherwise. T = mu + kappa sigma of these scores (HiProbe-VAD, arXiv 2507.17394), or
    fixed.
    """
    from stages.probes.training import training_scores

    settings = job.settings
    probing = training_scores(job.inputs["scorer"])
    fixed = fixed_threshold(settings.threshold)
    record = {
        "threshold": probing.threshold(settings.kappa) if fixed is None else fixed,
        "rule": settings.threshold,
        "mu": probing.mu,
        "sigma": probing.sigma,
        "kappa": settings.kappa,
    }
    write_json(job.out / "threshold.json", record)
    return Result(1)
