"""What happens in a video, and when: acts, one after another, in one scene under one light."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from demo.acts import BY_NAME, PASSAGES, Kind
from demo.canvas import Drawing, paint, shine
from demo.cast import Cast, draw_cast
from demo.light import Light, add_noise, fall_down
from demo.looks import Palette
from demo.normal import pace_about
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
    passers: int = 0
    """People who walk about in the background."""
    passer_seed: int = 0

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
        return {
            act: draw_cast(
                self._scene, act.seed, self.palette, act.level, (act.end - act.start) / self.fps
            )
            for act in self.acts
        }  # fmt: skip

    @cached_property
    def _background(self) -> Cast:
        return draw_cast(self._scene, self.passer_seed, self.palette, 3, 1.0)

    def frame(self, number: int) -> NDArray[np.uint8]:
        """One frame, [HEIGHT, WIDTH, 3] RGB."""
        picture = self._scene.background.copy()
        drawn = sorted(
            (*self.played(number), *self._passing(number)), key=lambda drawing: drawing.depth
        )
        for drawing in drawn:
            paint(picture, drawing.strokes)
        time = number / self.fps
        fall_down(picture, self.light.weather, time)
        picture *= np.asarray(self.light.gain(time), dtype=np.float32)
        for drawing in drawn:
            shine(picture, drawing.glows)
        add_noise(picture, self.light.grain, number)
        return np.clip(picture, 0, 255, out=picture).astype(np.uint8)

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """All frames, in order."""
        return (self.frame(number) for number in range(self.n_frames))

    def played(self, number: int) -> list[Drawing]:
        """Those who act in a frame, without those who pass by."""
        act = next(act for act in self.acts if act.start <= number < act.end)
        since = (number - act.start) / self.fps
        play = PASSAGES.get(act.kind) or BY_NAME[act.kind].play
        return play(self._casts[act], since)

    def _passing(self, number: int) -> Iterator[Drawing]:
        """People far away who have nothing to do with it."""
        top, bottom = self._scene.ground
        for passer in range(self.passers):
            y = top + (0.02 + 0.08 * passer) * (bottom - top)
            yield pace_about(
                self._background, 3 + passer, number / self.fps, y, 0.55 + 0.12 * passer
            )
