"""What happens in a video, and when: acts, one after another, in one scene under one light."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from demo.acts import BY_NAME, PASSAGES, Kind
from demo.canvas import Drawing, paint, shine
from demo.cast import Cast, draw_cast
from demo.light import Light, add_noise, fall_down
from demo.looks import Palette
from demo.scenes import PHRASES, Scene, build_scene


@dataclass(frozen=True, slots=True)
class Act:
    """One act of a story."""

    kind: str
    """Name of a Kind, or of a passage."""
    start: int
    """Its first frame."""
    end: int
    """One past its last frame."""
    seed: int
    """Of its cast."""
    level: int = 1
    """Subtlety, 1 to 3."""

    @property
    def told_as(self) -> Kind:
        """The kind that captions name."""
        return BY_NAME["stroll" if self.kind in PASSAGES else self.kind]

    def cast(self, scene: Scene, palette: Palette, fps: int) -> Cast:
        """Who plays it."""
        return draw_cast(scene, self.seed, palette, self.level, (self.end - self.start) / fps)

    def drawn(self, cast: Cast, since: float) -> list[Drawing]:
        """Those who act, so many seconds after the beginning, the farthest first."""
        play = PASSAGES.get(self.kind) or BY_NAME[self.kind].play
        return sorted(play(cast, since), key=lambda drawing: drawing.depth)


@dataclass(frozen=True)
class Story:
    """A whole video, as a pure function of a frame's number."""

    scene_kind: str
    scene_seed: int
    light: Light
    acts: tuple[Act, ...]
    """They follow one another without a gap, from frame 0 to the last."""
    fps: int
    palette: Palette

    @property
    def n_frames(self) -> int:
        """Frames of the video."""
        return self.acts[-1].end

    @property
    def intervals(self) -> tuple[tuple[int, int, str], ...]:
        """(first frame, one past the last, kind) of every anomalous act."""
        return tuple(
            (act.start, act.end, act.kind) for act in self.acts if act.told_as.group == "anomalous"
        )

    def act_of(self, start: int, end: int) -> Act:
        """The act that fills most of the frames [start, end); of equal ones the first."""
        return max(self.acts, key=lambda act: min(end, act.end) - max(start, act.start))

    def caption(self, start: int, end: int) -> str:
        """What the frames [start, end) show."""
        told = self.act_of(start, end).told_as.told
        return f"{told} {PHRASES[self.scene_kind]} {self.light.told}."

    @cached_property
    def _scene(self) -> Scene:
        return build_scene(self.scene_kind, self.scene_seed)

    @cached_property
    def _casts(self) -> dict[Act, Cast]:
        return {act: act.cast(self._scene, self.palette, self.fps) for act in self.acts}

    def frame(self, number: int) -> NDArray[np.uint8]:
        """One frame, [HEIGHT, WIDTH, 3] RGB."""
        return render(self._scene, self.played(number), self.light, number, self.fps)

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """All frames, in order."""
        return (self.frame(number) for number in range(self.n_frames))

    def played(self, number: int) -> list[Drawing]:
        """Those who act in a frame, the farthest first."""
        act = next(act for act in self.acts if act.start <= number < act.end)
        since = (number - act.start) / self.fps
        return act.drawn(self._casts[act], since)


def render(
    scene: Scene, drawn: Sequence[Drawing], light: Light, number: int, fps: int
) -> NDArray[np.uint8]:
    """Paint frame `number`: drawings, the farthest first, and light, over a scene's background."""
    picture = scene.background.copy()
    for drawing in drawn:
        paint(picture, drawing.strokes)
    time = number / fps
    fall_down(picture, light.weather, time)
    picture *= np.asarray(light.gain(time), dtype=np.float32)
    for drawing in drawn:
        shine(picture, drawing.glows)
    add_noise(picture, light.grain, number)
    return np.clip(picture, 0, 255, out=picture).astype(np.uint8)
