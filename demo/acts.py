"""Every kind of act that the world knows, as data: how it is played, and how it is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from demo import anomalous, lookalikes, normal
from demo.canvas import Drawing
from demo.cast import Cast
from demo.scenes import PHRASES

Group = Literal["normal", "look-alike", "anomalous"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of act."""

    name: str
    """In the label file, the class of a video with an anomalous act."""
    group: Group
    told: str
    """How a caption begins."""
    word: str
    """The word in `told` that no other kind has."""
    play: Callable[[Cast, float], list[Drawing]]
    """What is to be seen, so many seconds after the beginning."""
    scenes: tuple[str, ...] = tuple(PHRASES)
    """Where it can happen."""
    resembles: str = ""
    """For a look-alike, the anomalous kind that it is not."""
    seconds: tuple[float, float] = (3.0, 7.0)
    """How long it lasts, at least and at most."""


_ROADS = ("street", "car park")
_BARRIERS = ("yard", "shop", "platform")
_OUTDOORS = ("street", "car park", "yard", "square")

KINDS: tuple[Kind, ...] = (
    Kind("empty", "normal", "Nobody is seen", "nobody", normal.empty),
    Kind("walk", "normal", "A person walks", "walks", normal.walk),
    Kind("stroll", "normal", "People walk", "walk", normal.stroll),
    Kind("wait", "normal", "A person waits", "waits", normal.wait),
    Kind("talk", "normal", "Two people talk", "talk", normal.talk),
    Kind("drive", "normal", "A car drives by", "drives", normal.drive, _ROADS),
    Kind(
        "cycle", "normal", "A person rides a bicycle", "bicycle", normal.cycle,
        ("street", "car park", "yard", "square"),
    ),
    Kind("hug", "look-alike", "Two people hug", "hug", lookalikes.hug, resembles="fight"),
    Kind("kneel", "look-alike", "A person kneels down", "kneels", lookalikes.kneel, resembles="fall"),
    Kind("jog", "look-alike", "People jog", "jog", lookalikes.jog, resembles="panic"),
    Kind(
        "pick up", "look-alike", "A person fetches a bag", "fetches", lookalikes.pick_up,
        resembles="theft", seconds=(2.8, 3.8),
    ),
    Kind(
        "lean", "look-alike", "A person leans and looks", "leans", lookalikes.lean, _BARRIERS,
        resembles="intrusion",
    ),
    Kind(
        "queue", "look-alike", "A car stops behind another", "stops", lookalikes.queue, _ROADS,
        resembles="collision",
    ),
    Kind(
        "reverse", "look-alike", "A car backs up", "backs", lookalikes.reverse, _ROADS,
        resembles="wrong way", seconds=(3.0, 5.0),
    ),
    Kind("flash", "look-alike", "Lights flash", "flash", lookalikes.flash, resembles="explosion"),
    Kind(
        "grill", "look-alike", "A person tends a grill", "grill", lookalikes.grill, _OUTDOORS,
        resembles="fire",
    ),
    Kind("photo", "look-alike", "A person takes photos", "photos", lookalikes.photo, resembles="shooting"),
    Kind("fight", "anomalous", "Two people fight", "fight", anomalous.fight),
    Kind("fall", "anomalous", "A person falls to the ground", "falls", anomalous.fall),
    Kind("panic", "anomalous", "People run away", "run", anomalous.panic),
    Kind("theft", "anomalous", "A person steals a bag", "steals", anomalous.theft, seconds=(2.4, 3.2)),
    Kind(
        "intrusion", "anomalous", "A person trespasses", "trespasses", anomalous.intrusion, _BARRIERS,
        seconds=(4.0, 7.0),
    ),
    Kind("collision", "anomalous", "Two cars crash", "crash", anomalous.collision, _ROADS),
    Kind("wrong way", "anomalous", "A car goes the wrong way", "wrong", anomalous.wrong_way, _ROADS),
    Kind("explosion", "anomalous", "Something explodes", "explodes", anomalous.explosion),
    Kind("fire", "anomalous", "A fire burns", "burns", anomalous.fire),
    Kind("shooting", "anomalous", "A person shoots at another", "shoots", anomalous.shooting),
)  # fmt: skip
"""In one fixed order: what is drawn at random from a seed depends on it."""

BY_NAME = {kind.name: kind for kind in KINDS}
PASSAGES: dict[str, Callable[[Cast, float], list[Drawing]]] = {
    "arrive": normal.arrive,
    "leave": normal.leave,
}
"""Between acts: how the people of an act come and go. They are told as `stroll`."""
