"""A beating heart in its chest: slices of the short-axis stack and the three long-axis views."""

from collections.abc import Iterable
from typing import Literal, get_args

import numpy as np

from fm_unroll.phantoms.anatomy_chest import Chest
from fm_unroll.phantoms.shapes import Array, Noise, Plane, blend, ellipse, tube
from fm_unroll.phantoms.tissue import Canvas

LongAxisView = Literal["three_chamber", "two_chamber", "four_chamber"]
LONG_AXIS_VIEWS: tuple[LongAxisView, ...] = get_args(LongAxisView)


class Heart:
    """One subject's heart. Contraction runs from 0 (end diastole) to 1 (end systole)."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Draw what is particular to the subject."""
        self._chest = Chest(rng)
        self._centre = (rng.uniform(8, 30), rng.uniform(-24, -6))
        self._septum = rng.normal(-0.1, 0.25)
        self._cavity = rng.uniform(20, 29)
        self._wall = rng.uniform(6.5, 11.5)
        self._shortening = rng.uniform(0.18, 0.42)
        self._length = rng.uniform(72, 95)
        self._right = rng.uniform(0.85, 1.25)
        self._fat_pad = rng.uniform(2, 8)
        self._papillary = rng.uniform(3.0, 5.0)
        self._turn = rng.normal((0.7, 0.35, 0.75), 0.25)  # of the long axis in the three views
        self._wobble = Noise(rng, rng.uniform(90, 130))
        self._ripple = Noise(rng, 38)
        self._trabeculae = Noise(rng, 8)
        self._fibres = Noise(rng, 5, bandwidth=0.5)
        self._patches = Noise(rng, 18, bandwidth=0.5)

    def draw_short_axis(self, plane: Plane, level: float, contractions: Iterable[float]) -> list[Canvas]:
        """Paint the frames of a short-axis slice.

        Args:
            plane: the points.
            level: 0 at the base, 1 at the apex.
            contractions: 0 to 1, one per frame.
        """
        chest, p, texture = self._chest.draw(plane, z=30 * level, liver=0.6 + 0.6 * level)
        h = p.local(self._centre, self._septum).warped(self._wobble, 1.2)
        frames = []
        for contraction in contractions:
            frames.append(chest.copy())
            self._paint_short_axis(frames[-1], h, texture, level, contraction)
        return frames

    def draw_long_axis(self, plane: Plane, view: LongAxisView, contractions: Iterable[float]) -> list[Canvas]:
        """Paint the frames of a long-axis view; the apex points up and to the patient's left.

        Args:
            plane: the points.
            view: which chambers it cuts.
            contractions: 0 to 1, one per frame.
        """
        index = LONG_AXIS_VIEWS.index(view)
        turn, half_way = self._turn[index], 0.42 * self._length
        chest, p, texture = self._chest.draw(
            plane, 60 + 15 * index, (0.3, 0.3, 0.0)[index], (1.0, 1.15, 1.0)[index]
        )
        # the apex is up in the heart's frame: y runs from -length (apex) to 0 (mitral plane) to the atria
        mitral = (self._centre[0] - half_way * np.sin(turn), self._centre[1] + half_way * np.cos(turn))
        h = p.local(mitral, turn).warped(self._wobble, 1.5)
        frames = []
        for contraction in contractions:
            frames.append(chest.copy())
            self._paint_long_axis(frames[-1], h, texture, view, contraction)
        return frames

    def _paint_short_axis(
        self, canvas: Canvas, h: Plane, texture: Array, level: float, contraction: float
    ) -> None:
        """Right ventricle, left ventricle with its papillary muscles, in the frame of the left ventricle."""
        taper = np.sqrt(max(1 - (0.92 * level) ** 2.4, 0.02))
        cavity = self._cavity * taper * (1 - self._shortening * contraction)
        outer = (self._cavity + self._wall) * (0.25 + 0.75 * taper) * (1 - 0.06 * contraction)
        right = self._right * (1 - 0.2 * contraction) * max(1 - 0.75 * level**1.5, 0.2)
        left_outer = ellipse(h, (0, 0), (outer, 1.04 * outer))
        right_outer = ellipse(h, (-0.85 * outer, -4), (30 * right + 8, 36 * right + 6), 0.35)
        right_outer += self._ripple(h.local(scale=2), 50)
        sac = blend(left_outer, right_outer, 10) + 1
        self._paint_sac(canvas, h, sac, texture)
        free_wall = 3.0 + contraction
        canvas.paint("myocardium", right_outer, texture)
        blood = texture * (1 + 0.05 * self._patches(h, 40 * contraction + 20 * level))
        rough = 1.1 * self._trabeculae(h, level * 20)
        canvas.paint("blood", right_outer - free_wall + rough, blood)
        canvas.paint("myocardium", left_outer, texture * self._wrapped_fibres(h))
        left_cavity = ellipse(h, (0, 0), (cavity, 1.04 * cavity)) + 0.8 * self._trabeculae(h, 20 * level + 60)
        canvas.paint("blood", left_cavity, blood)
        if 0.15 < level < 0.8:
            for turn in (0.6, 2.5):
                r = 0.68 * cavity
                at = (r * np.cos(turn), r * np.sin(turn))
                size = self._papillary * (0.8 + 0.3 * contraction) * min(1, cavity / 16)
                canvas.paint("myocardium", ellipse(h, at, (1.25 * size, size), turn), texture)

    def _paint_long_axis(
        self, canvas: Canvas, h: Plane, texture: Array, view: LongAxisView, contraction: float
    ) -> None:
        """The chambers of the view, in the frame of the long axis."""
        squeeze = 1 - self._shortening * contraction
        base = -0.12 * self._length * contraction
        length, cavity, wall = self._length, self._cavity, self._wall
        inner_length = length - 0.7 * wall + base
        outer_width = (cavity + wall) * (1 - 0.06 * contraction)
        below_base = base + 3 - h.y
        left_outer = np.minimum(
            ellipse(h, (0, base), (outer_width, length + base), power=2.1), below_base + 2
        )
        left_cavity = np.minimum(
            ellipse(h, (0, base), (cavity * squeeze, inner_length), power=2.0), below_base
        )
        left_cavity += 0.8 * self._trabeculae(h, 70)
        atrium_size = 1 + 0.12 * contraction
        left_atrium = ellipse(h, (2, base + 27), (23 * atrium_size, 25 * atrium_size), power=2.3)
        neighbours, their_walls = self._beside_the_left(h, view, contraction, base, outer_width)
        chambers, walls = [left_atrium, *neighbours], [left_atrium + 2, *their_walls]
        sac = left_outer
        for wall_level in walls:
            sac = blend(sac, wall_level, 8)
        self._paint_sac(canvas, h, sac + 1, texture)
        blood = texture * (1 + 0.05 * self._patches(h, 40 * contraction))
        for wall_level in walls:
            canvas.paint("myocardium", wall_level, texture)
        canvas.paint("myocardium", left_outer, texture)
        for chamber in chambers:
            canvas.paint("blood", chamber, blood)
        canvas.paint("myocardium", np.minimum(left_outer, -left_cavity), texture)
        canvas.paint("blood", left_cavity, blood)
        papillary = tube(
            h, [(0.75 * cavity * squeeze, -0.55 * length), (0.35 * cavity * squeeze, -0.3 * length)], 3.4
        )
        canvas.paint("myocardium", np.minimum(papillary, left_cavity + 2), texture)
        opening = 6 * (1 - contraction)
        for side in (-1, 1):
            hinge, tip = (side * 0.85 * cavity, base + 2), (side * (1 + opening), base - 6 - opening)
            canvas.paint("myocardium", tube(h, [hinge, tip], (1.2, 0.6)), opacity=0.7)

    def _beside_the_left(
        self, h: Plane, view: LongAxisView, contraction: float, base: float, outer_width: float
    ) -> tuple[list[Array], list[Array]]:
        """Levels of the chambers that a view shows beside the left heart, and of their walls."""
        if view == "four_chamber":
            right = self._right * (1 - 0.15 * contraction)
            ventricle = ellipse(
                h, (-outer_width - 6, base + 2), (28 * right, 0.82 * self._length), 0.16, power=1.9
            )
            below_base = base + 3 - h.y
            ventricle = np.minimum(ventricle, below_base + 1)
            atrium = ellipse(h, (-outer_width - 12, base + 26), (25 * right, 23 * right), power=2.3)
            return [ventricle - 3 + self._trabeculae(h, 30), atrium], [ventricle, atrium + 2]
        if view == "three_chamber":
            root = tube(h, [(-10, base - 8), (-20, base + 16), (-26, base + 60)], (11, 15, 12))
            outflow = ellipse(h, (-outer_width - 8, base - 18), (15 * self._right, 32), 0.2)
            return [root, outflow - 3], [root + 2, outflow]
        appendage = ellipse(h, (24, base + 10), (9, 12), 0.5)
        return [appendage], [appendage + 2]

    def _paint_sac(self, canvas: Canvas, h: Plane, sac: Array, texture: Array) -> None:
        """Mediastinal fat, the dark line of the pericardium, and epicardial fat round the heart."""
        pad = self._fat_pad * (1.0 + 0.5 * self._ripple(h.local(scale=2), 80))
        canvas.paint("fat", sac + 3 + 1.5 * pad, texture)
        canvas.paint("ligament", sac + 1.6 + 0.8 * np.maximum(pad, 0))
        canvas.paint("fat", sac + 0.8 * np.maximum(pad, 0), texture)

    def _wrapped_fibres(self, h: Plane) -> Array:
        """A faint texture along the circumference of the left ventricle."""
        radius = np.hypot(h.x, h.y)
        around = Plane((6 * np.arctan2(h.y, h.x)).astype(np.float32), radius, h.z, h.pixel)
        return 1 + 0.05 * self._fibres(around, 3)
