"""Whether a test video had a part in the probe, asked of every world before anything is made.

The stages ask again (stages/probes/training.py): of the rows themselves, whoever gives them.
"""

from __future__ import annotations

from cache.errors import LeakageError
from pipeline.task import Folder
from pipeline.world import World


def fitted_on(scorer: Folder) -> dict[str, str]:
    """The videos that an outside scorer was fitted on: video id by the sha256 of the file.

    Raises LeakageError where its folder is not as one fit has written it, or names a video that was
    no training video.
    """
    from stages.probes.training import require_as_fitted, training_scores

    found = training_scores(scorer).sources()
    require_as_fitted(scorer.path)
    return found


def refuse_leaks(world: World) -> None:
    """Raise LeakageError, naming them, for test videos that selection or fit would rest on.

    A probing video must be of the training split and hold the bytes of no test video; an outside
    scorer must not have been fitted on the bytes of one.
    """
    videos = world.videos or ()
    tested = {v.video_id: v.digest for v in videos if v.split == "test" and v.digest}
    if world.scorer is not None:
        from stages.probes.training import require_unseen

        require_unseen(world.scorer.fitted, tested)
    names = {digest: name for name, digest in tested.items()}
    for video in videos:
        if video.subset != "probing":
            continue
        if video.split != "train" or video.digest in names:
            why = f"its split is {video.split!r}"
            if video.split == "train":
                why = f"it is the same file as the test video {names[video.digest]}"
            raise LeakageError(
                f"{video.video_id}: {why}, so it may not be in the probing subset; take it out of "
                "data.probing_videos, or correct the labels"
            )
