"""A chest without its heart: body wall with ribs, lungs, liver, stomach, spine, aorta."""

import numpy as np

from fm_unroll.phantoms.shapes import Array, Noise, Plane, ellipse, fade, tube
from fm_unroll.phantoms.tissue import Canvas, individual_tissues


class Chest:
    """One subject's chest. Its front is up, the patient's right (the liver) to the left."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Draw what is particular to the subject."""
        self.tissues = individual_tissues(rng)
        self._width, self._depth = rng.uniform(128, 172), rng.uniform(92, 122)
        self._fat = rng.uniform(5, 24)
        self._tilt = rng.normal(0, 0.12)
        self._centre = (rng.normal(0, 6), rng.normal(0, 6))
        self._liver = rng.uniform(-10, 20)
        self._wobble = Noise(rng, rng.uniform(90, 130))
        self._ripple = Noise(rng, 38)
        self._grain = Noise(rng, 4.5, bandwidth=0.5)
        self._fibres = Noise(rng, 5, bandwidth=0.5)
        self._patches = Noise(rng, 18, bandwidth=0.5)
        self._vessels = Noise(rng, 15)
        self._lobules = Noise(rng, 12)

    def draw(self, plane: Plane, z: float, liver: float, width: float = 1.0) -> tuple[Canvas, Plane, Array]:
        """Paint a slice.

        Args:
            plane: the points.
            z: depth of the slice, mm.
            liver: how much of liver, stomach and spleen the slice shows: 0 none, 1 much.
            width: width of the body in this slice, relative to its usual width.

        Returns:
            The canvas, the points in the frame of the chest, and a texture to paint with.
        """
        canvas = Canvas(plane, self.tissues)
        p = plane.local(self._centre, self._tilt).warped(self._wobble, 3.5)
        texture = 1 + 0.04 * self._grain(p, z) + 0.03 * self._patches(p, z)
        half, deep = self._width * width, self._depth
        body = ellipse(p, (0, 0), (half, deep), power=2.3) + 1.2 * self._ripple(p, z)
        septa = fade(0.15 - np.abs(self._lobules(p, z)), 0.3)
        canvas.paint("skin", body, texture)
        canvas.paint("fat", body - 2, texture * (1 - 0.35 * septa))
        fat = self._fat * (1 + 0.3 * self._ripple(p.local(scale=2), z)) + 6 * fade(np.abs(p.x) - 60, 60)
        streaks = self._fibres(Plane(p.x * 0.3, p.y, z, p.pixel), z)
        muscle = body - np.maximum(fat, 4)
        canvas.paint("muscle", muscle, texture * (1 + 0.12 * streaks))
        layers = np.abs(muscle - 7 - 2 * self._ripple(p, z + 30))
        canvas.paint("fat", np.minimum(1.1 - layers, muscle), texture)
        thorax = muscle - 17 - 10 * fade(p.y - 0.55 * deep, 30)
        angle = np.arctan2(p.y * half / deep, p.x)
        spacing = 11 * (np.abs((angle * 9 / np.pi + 0.01 * z) % 1 - 0.5) - 0.2)
        ribs = np.minimum(4.0 - np.abs(thorax + 5.5), spacing)
        canvas.paint("bone", ribs)
        canvas.paint("red_marrow", ribs - 1.6, texture)
        canvas.paint("fat", thorax, texture * 0.8)
        canvas.paint("lung", thorax - 2.5, 1 + 0.3 * self._grain(p, z))
        lung_vessels = np.minimum(3 * (np.abs(self._vessels(p, z)) - 2.3), thorax - 8)
        canvas.paint("blood", lung_vessels, texture, opacity=0.8)
        self._paint_spine(canvas, p, deep, texture)
        self._paint_abdomen(canvas, p, thorax, liver, z, texture)
        x, y = -0.15 * half, -deep + self._fat + 20
        sternum = ellipse(p, (x, y), (17, 6.5), power=2.5)
        canvas.paint("bone", sternum)
        canvas.paint("red_marrow", sternum - 1.5, texture)
        return canvas, p, texture

    def _paint_spine(self, canvas: Canvas, p: Plane, deep: float, texture: Array) -> None:
        """Vertebra, cord, the muscles of the back, descending aorta."""
        x, y = -12.0, deep - self._fat - 52
        for side in (-1, 1):
            back = ellipse(p, (x + side * 30, y + 26), (24, 17), side * 0.25)
            canvas.paint("fat", back + 1.5, texture)
            canvas.paint("muscle", back, texture * (1 + 0.12 * self._fibres(p, 5)))
            canvas.paint("bone", tube(p, [(x + side * 10, y + 16), (x + side * 34, y + 13)], (4, 3)))
        canvas.paint("fat", ellipse(p, (x + 6, y - 10), (38, 24)), texture)
        vertebra = ellipse(p, (x, y), (21, 16), power=2.5)
        canvas.paint("bone", vertebra)
        canvas.paint("red_marrow", vertebra - 1.6, texture * (1 + 0.08 * self._grain(p, 9)))
        canvas.paint("bone", ellipse(p, (x, y + 26), (14, 13)))
        canvas.paint("bone", tube(p, [(x, y + 34), (x, y + 50)], (5, 3)))
        canvas.paint("cerebrospinal_fluid", ellipse(p, (x, y + 25), (10, 8.5)))
        canvas.paint("white_matter", ellipse(p, (x, y + 25), (5.5, 4.5)), texture)
        aorta = ellipse(p, (x + 29, y - 12), (11, 11))
        canvas.paint("muscle", aorta + 1.8, texture)
        canvas.paint("blood", aorta, texture)

    def _paint_abdomen(
        self, canvas: Canvas, p: Plane, thorax: Array, liver: float, z: float, texture: Array
    ) -> None:
        """Liver under the right dome of the diaphragm, stomach and spleen under the left."""
        if liver <= 0:
            return
        bulge = self._liver + 10 * liver
        dome = ellipse(
            p, (-0.68 * self._width, 0.40 * self._depth - bulge / 2), (80 * liver + bulge, 58), 0.5
        )
        dome = np.minimum(dome + 3 * self._ripple(p, z + 9), thorax - 1)
        veins = 2.6 - 9 * np.abs(self._lobules(p.local(scale=1.8), z))
        canvas.paint("muscle", dome + 1.5, texture)
        canvas.paint("liver", dome, texture)
        canvas.paint("blood", np.minimum(veins - 1.0, dome - 9), texture, opacity=0.6)
        left = ellipse(p, (0.6 * self._width, 0.5 * self._depth), (38 * liver + 8, 34 * liver + 6), 0.4)
        left = np.minimum(left, thorax - 1)
        canvas.paint("fat", left + 2.5, texture)
        canvas.paint("spleen", left, texture)
        lumen = left - 14 + 4 * self._ripple(p, z + 70)
        canvas.paint("stomach", lumen, texture * (1 + 0.5 * self._patches(p, z)))
