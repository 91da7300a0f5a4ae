"""An axial head: scalp, skull, folded cortex, white matter, ventricles, deep grey nuclei."""

from dataclasses import replace

import numpy as np

from fm_unroll.phantoms.shapes import Array, Noise, Plane, Point, ellipse, fade, tube
from fm_unroll.phantoms.tissue import Canvas, individual_tissues

HALF_WIDTH, HALF_LENGTH = 73.0, 92.0


class Head:
    """One subject's head. Slices run from the basal ganglia (z = 0) to the centrum semiovale (z = 40 mm)."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Draw what is particular to the subject."""
        self.tissues = individual_tissues(rng)
        self._size = rng.uniform(0.9, 1.07) * np.array([rng.uniform(0.95, 1.05), rng.uniform(0.95, 1.05)])
        self._tilt = rng.normal(0, 0.12)
        self._centre = tuple(rng.normal(0, 4, 2))
        self._scalp = rng.uniform(4, 9)
        self._skull = rng.uniform(5, 9)
        self._egg = rng.uniform(0.02, 0.12)
        self._atrophy = rng.uniform(0.0, 1.0) ** 2
        self._ventricles = rng.uniform(0.75, 1.1) + 0.5 * self._atrophy
        self._gyrus = rng.uniform(17, 22)
        self._lesions = rng.uniform(0, 1) < 0.4
        self._folds = Noise(rng, self._gyrus, bandwidth=0.3)
        self._wobble = Noise(rng, rng.uniform(80, 110))
        self._ripple = Noise(rng, 20)
        self._grain = Noise(rng, 2.6, bandwidth=0.5)
        self._patches = Noise(rng, 11, bandwidth=0.5)
        self._vessels = Noise(rng, 6.5)

    def draw(self, plane: Plane) -> Canvas:
        """Paint the slice at ``plane.z`` (0 to 40 mm)."""
        canvas = Canvas(plane, self.tissues)
        p = plane.local(self._centre, self._tilt).warped(self._wobble, 1.8)
        height = p.z / 40
        shrink = np.sqrt(max(1 - (p.z / 95) ** 2, 0.2))
        width, length = HALF_WIDTH * self._size[0] * shrink, HALF_LENGTH * self._size[1] * shrink
        grain = 1 + 0.035 * self._grain(p, p.z) + 0.02 * self._patches(p, p.z)
        egg = replace(p, x=p.x * (1 - self._egg * p.y / length))  # the forehead is narrower than the back
        head = ellipse(egg, (0, 0), (width, length), power=2.25)
        inner = self._paint_coverings(canvas, p, head, grain)
        brain = inner - 1.6 - 1.5 * self._atrophy
        self._paint_cortex(canvas, p, brain, width, height, grain)
        self._paint_deep_structures(canvas, p, height, width / HALF_WIDTH, length / HALF_LENGTH, grain)
        sinus = length - self._scalp - self._skull - 4
        for end in (-1, 1):
            canvas.paint("flow_void", ellipse(p, (0, end * sinus), (3.5, 2.5)), grain)
        return canvas

    def _paint_coverings(self, canvas: Canvas, p: Plane, head: Array, grain: Array) -> Array:
        """Skin, fat, temporal muscle, skull, fluid; returns the level of the skull's inside."""
        ripple = self._ripple(p, p.z)
        lobules = fade(0.7 - np.abs(self._vessels(p, p.z)) * 2, 0.8)
        thickness = self._scalp * (1 + 0.08 * ripple)
        canvas.paint("skin", head, grain)
        canvas.paint("fat", head - 1.8, grain * (1 - 0.3 * lobules))
        canvas.paint("skin", head - thickness + 1.2, grain)
        temples = [ellipse(p, (side * HALF_WIDTH * 0.9, -22), (12, 34 - 0.5 * p.z)) for side in (-1, 1)]
        canvas.paint("muscle", np.minimum(np.maximum(*temples), head - 2.5), grain)
        skull = head - thickness - np.clip(np.maximum(*temples), 0, 5) * 0.8
        diploe = np.minimum(skull - 1.7, self._skull - 1.5 - skull + 0.6 * ripple)
        canvas.paint("bone", skull)
        canvas.paint("red_marrow", diploe, grain * (1 + 0.12 * self._grain(p, p.z + 9)))
        inner = skull - self._skull
        canvas.paint("cerebrospinal_fluid", inner)
        return inner

    def _paint_cortex(
        self, canvas: Canvas, p: Plane, brain: Array, width: float, height: float, grain: Array
    ) -> None:
        """White matter wrapped in a grey ribbon that dips into sulci, two hemispheres, Sylvian fissures."""
        # Sulci are the zero lines of a random field in (arc length, depth) coordinates, stretched in depth so
        # that they run inwards from the surface. The distance to a zero line is about |field| / |gradient|.
        arc = np.arctan2(p.y, np.abs(p.x) + 2) * 0.75 * width
        unrolled = Plane(arc + np.where(p.x > 0, 171, 0).astype(np.float32), brain * 0.45, p.z, p.pixel)
        field = self._folds(unrolled, 0.8 * p.z) + 0.5 * self._folds(p, 0.8 * p.z)
        slope = np.hypot(*np.gradient(field, p.pixel))
        depth = np.maximum(brain, 0)
        sulcus = np.abs(field) / np.maximum(slope, 0.5 / self._gyrus) + np.maximum(depth - 15, 0) ** 2 * 0.06
        bend = 1.2 * self._ripple(p, p.z)
        callosum = 0 if height > 0.75 else 46 - 16 * height
        fissure = np.abs(p.x + bend) + 0.8 * np.maximum(callosum * 0.62 - np.abs(p.y + 2), 0)
        distance = np.minimum(np.minimum(brain, sulcus), fissure)
        if height < 0.5:
            for side in (-1, 1):
                course = [(side * width, -14), (side * 0.62 * width, -8), (side * 0.53 * width, 12)]
                distance = np.minimum(distance, -tube(p, course, (2.2, 1.4, 0.2)) + 0.3)
        distance = np.minimum(distance, brain)
        canvas.paint("grey_matter", np.minimum(distance - 0.5 - 0.7 * self._atrophy, brain), grain)
        canvas.paint("white_matter", np.minimum(distance - 3.4, brain - 3.4), grain)
        veins = self._vessels(p, p.z) - 2.5
        canvas.paint("flow_void", np.minimum(2 * veins, distance), grain, opacity=0.7)

    def _paint_deep_structures(
        self, canvas: Canvas, p: Plane, height: float, wide: float, long: float, grain: Array
    ) -> None:
        """Nuclei and ventricles: basal ganglia below, bodies of the ventricles in the middle, none on top."""

        def at(side: int, x: float, y: float) -> Point:
            return side * x * wide, y * long

        v = self._ventricles
        nuclei = 12 * (0.5 - height)  # fades the nuclei out upwards, mm
        core = ellipse(p, (0, 2), (38 * wide, 44 * long), power=2.5)
        if height < 0.85:
            canvas.paint("white_matter", core - 3 - 22 * height, grain)
        for side in (-1, 1):
            caudate = ellipse(p, at(side, 13.5, -21 + 6 * height), (5.2, 10 + 8 * height), side * -0.3)
            canvas.paint("grey_matter", np.minimum(caudate, 6 * (0.8 - height) + 0 * caudate), grain)
            if nuclei > 0:
                putamen = ellipse(p, at(side, 26, -5), (5.6, 16), side * -0.22)
                canvas.paint("grey_matter", np.minimum(putamen, nuclei), grain)
                pallidum = ellipse(p, at(side, 19.5, -3), (4.2, 9), side * -0.3)
                canvas.paint("deep_grey", np.minimum(pallidum, nuclei), grain * 0.96)
                thalamus = ellipse(p, at(side, 11, 13), (9, 14), side * -0.5)
                canvas.paint("deep_grey", np.minimum(thalamus, nuclei), grain)
            if height < 0.45:
                horn = tube(
                    p, [at(side, 4, -20), at(side, 7, -27), at(side, 14, -35)], (2.6 * v, 3.6 * v, 2.2 * v)
                )
                atrium = tube(
                    p, [at(side, 17, 24), at(side, 25, 36), at(side, 22, 52)], (3 * v, 5.5 * v, 2 * v)
                )
                ventricle = np.maximum(horn, atrium)
                canvas.paint("cerebrospinal_fluid", ventricle)
                plexus = ellipse(p, at(side, 23, 33), (2.2 * v, 4 * v), side * -0.3)
                canvas.paint("deep_grey", plexus, 1.2 + 0.3 * self._grain(p, p.z))
            elif height < 0.8:
                r = 6.0 * v * (1.0 - 0.75 * (height - 0.45) / 0.35)
                body = [at(side, 11, -30), at(side, 7.5, -12), at(side, 9.5, 10), at(side, 18, 32)]
                ventricle = tube(p, body, (0.7 * r, r, 0.9 * r, r))
                canvas.paint("cerebrospinal_fluid", ventricle)
            else:
                continue
            if self._lesions:
                halo = np.minimum(ventricle + 9, -1 - ventricle)
                spots = np.minimum(3 * (self._patches(p, p.z) - 1.5), halo)
                canvas.paint("lesion", spots, grain)
        if height < 0.4:
            third = tube(p, [(0, -6 * long), (0, 20 * long)], (1.1 * v, 1.8 * v))
            canvas.paint("cerebrospinal_fluid", third)
            cistern = ellipse(p, (0, 31 * long), (7 * v, 3.5 * v))
            canvas.paint("cerebrospinal_fluid", cistern)
