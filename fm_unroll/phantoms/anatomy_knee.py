"""A coronal knee: femur, tibia, fibula, cartilage, menisci, ligaments, muscles, subcutaneous fat."""

from dataclasses import replace

import numpy as np

from fm_unroll.phantoms.shapes import Array, Noise, Plane, blend, ellipse, fade, tube
from fm_unroll.phantoms.tissue import Canvas, individual_tissues


class Knee:
    """One subject's knee. Slices run from the front of the joint (z = -16 mm) to its back (z = 16 mm)."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Draw what is particular to the subject."""
        self.tissues = individual_tissues(rng)
        self._side = rng.choice([-1, 1])
        self._scale = rng.uniform(0.88, 1.1)
        self._tilt = rng.normal(0, 0.05)
        self._centre = (rng.normal(0, 4), rng.normal(0, 6))
        self._fat = rng.uniform(5, 16)
        self._cartilage = rng.uniform(1.8, 3.2)
        self._joint_gap = rng.uniform(4.5, 6.5)
        self._effusion = rng.uniform(0, 1)
        self._notch = rng.uniform(8, 11)
        self._flare = rng.uniform(9, 13)
        self._growth_plate = rng.uniform(0.2, 1.0)
        self._pennation = rng.uniform(0.2, 0.45)
        self._edema = rng.uniform(0, 1) < 0.35
        self._edema_at = (rng.uniform(-25, 25), rng.choice([-1, 1]) * rng.uniform(12, 22))
        self._wobble = Noise(rng, rng.uniform(60, 90))
        self._ripple = Noise(rng, 24)
        self._septa = Noise(rng, 15)
        self._trabeculae = Noise(rng, 2.2, bandwidth=0.5)
        self._fibres = Noise(rng, 3.5, bandwidth=0.5)
        self._patches = Noise(rng, 13, bandwidth=0.5)
        self._vessels = Noise(rng, 12)

    def draw(self, plane: Plane) -> Canvas:
        """Paint the slice at ``plane.z`` (-16 to 16 mm)."""
        canvas = Canvas(plane, self.tissues)
        p = plane.local(self._centre, self._tilt, self._scale).warped(self._wobble, 1.5)
        p = replace(p, x=self._side * p.x)  # drawn with the fibula on the right
        patches = 1 + 0.05 * self._patches(p, p.z)
        self._paint_soft_parts(canvas, p, patches)
        femur, tibia, fibula = self._bones(p)
        for bone in (femur, tibia, fibula):
            self._paint_bone(canvas, p, bone, patches)
        self._paint_joint(canvas, p, femur, tibia, patches)
        return canvas

    def _paint_soft_parts(self, canvas: Canvas, p: Plane, patches: Array) -> None:
        """Skin, lobulated fat, muscles with fibres running down to the joint, vessels behind it."""
        ripple = self._ripple(p, p.z)
        y = p.y / 60
        half = 58 + 9 * np.tanh(-y - 0.6) + 3 * np.tanh(y - 1) + 3 * np.exp(-(y**2) * 2) - 0.02 * p.z**2
        limb = half - np.abs(p.x) + 0.8 * ripple
        septa = fade(0.12 - np.abs(self._septa(p, p.z)), 0.3)
        canvas.paint("skin", limb, patches)
        canvas.paint("fat", limb - 1.8, patches * (1 - 0.45 * septa))
        fascia = limb - 1.8 - self._fat * (1 + 0.3 * ripple * np.exp(-(y**2)))
        canvas.paint("ligament", np.minimum(fascia, np.abs(p.y) - 14), opacity=0.7)
        canvas.paint("fat", fascia - 0.9, patches * 0.92)
        for upper in (True, False):
            reach = (-24 - p.y if upper else p.y - 30) - 0.4 * np.abs(p.x)
            for side in (-1, 1):
                leaning = p.local(angle=side * self._pennation * (1 if upper else -1))
                fibres = self._fibres(Plane(leaning.x, 0.15 * leaning.y, p.z, p.pixel), p.z)
                bellies = np.abs(self._septa(Plane(leaning.x * 0.8, 0.2 * leaning.y, p.z, p.pixel), p.z + 30))
                belly = np.minimum(np.minimum(fascia - 1, reach + 12), side * p.x + 2)
                streaks = 12 * (bellies - 0.16)
                canvas.paint("muscle", np.minimum(belly, streaks), patches * (1 + 0.10 * fibres))
        if p.z > 2:
            course = [(6, -90), (3, -30), (1, 0), (4, 40), (2, 90)]
            canvas.paint("fat", tube(p, course, 0.5 * p.z), patches)
            canvas.paint("blood", tube(p, course, 0.22 * p.z), patches)
        vessels = np.minimum(3 * (np.abs(self._vessels(p, p.z)) - 2.1), np.minimum(limb - 5, 1.5))
        canvas.paint("blood", vessels, opacity=0.8)

    def _bones(self, p: Plane) -> tuple[Array, Array, Array]:
        """Levels of femur, tibia and fibula; the notch deepens to the back, the condyles curve away."""
        back = p.z / 16
        ripple = 0.7 * self._ripple(p, p.z + 50)
        gap = self._joint_gap / 2
        condyle_y = -gap - 21 + 1.5 * back**2
        shaft = 17 + 27 / (1 + np.exp(-(p.y + 42) / self._flare)) - np.abs(p.x + 0.04 * p.y)
        shaft = np.minimum(shaft, condyle_y + 8 - p.y)
        medial = ellipse(p, (-21.5, condyle_y), (20.5, 21.5), power=2.05)
        lateral = ellipse(p, (21.5, condyle_y), (19.5, 20.5), power=2.05)
        femur = blend(blend(medial, shaft, 8), blend(lateral, shaft, 8), 3)
        notch = ellipse(p, (0.5, -gap + 2), (self._notch, 19 + 7 * back), power=2.2)
        femur = np.minimum(femur, -notch) + ripple
        width = 13 + 27 / (1 + np.exp((p.y - 34) / self._flare))
        plateau = gap + 0.5 + 0.0009 * (np.abs(p.x) - 20) ** 2
        spines = 5.0 * np.exp(-(((np.abs(p.x - 0.5) - 4.5) / 3.0) ** 2)) + 2 * np.exp(-((p.x / 9) ** 2))
        top = np.minimum(p.y - plateau + spines, 0.6 * (width - np.abs(p.x - 0.03 * p.y)) + 2)
        tibia = np.minimum(np.minimum(top, width - np.abs(p.x - 0.03 * p.y)), 200) + ripple
        lean = 33 + 2 * back
        fibula = (
            tube(p, [(lean, 24), (lean - 1, 36), (lean - 4, 60), (lean - 4, 200)], (8, 5.5, 5, 5))
            + 0.5 * ripple
        )
        return femur, tibia, fibula - 6 * max(-back, 0)

    def _paint_bone(self, canvas: Canvas, p: Plane, bone: Array, patches: Array) -> None:
        """A dark cortex round fatty marrow with trabeculae along the load, the scar of growth, an oedema."""
        cortex = 0.9 + 1.7 * fade(np.abs(p.y) - 45, 30)
        canvas.paint("bone", bone)
        stretched = Plane(p.x, 0.45 * p.y, p.z, p.pixel)
        texture = patches * (1 + 0.07 * self._trabeculae(stretched, p.z))
        canvas.paint("marrow", bone - cortex, texture)
        red = 0.6 * fade(np.abs(p.y) - 42 + 7 * self._ripple(p, p.z), 24)
        canvas.paint("red_marrow", bone - cortex, texture, opacity=red)
        wave = 2 * self._ripple(p, p.z)
        scars = np.maximum(0.6 - np.abs(p.y + 37 + wave), 0.6 - np.abs(p.y - 25 + wave))
        canvas.paint("bone", np.minimum(scars, bone - cortex), opacity=0.5 * self._growth_plate)
        if self._edema:
            spot = ellipse(p, self._edema_at, (9, 7)) + 3 * self._ripple(p, p.z)
            canvas.paint("fluid", np.minimum(spot, bone - cortex), opacity=0.35 * fade(spot - 1, 8))

    def _paint_joint(self, canvas: Canvas, p: Plane, femur: Array, tibia: Array, patches: Array) -> None:
        """Everything between and beside the bones."""
        outside = -np.maximum(femur, tibia)
        joint = np.minimum(tube(p, [(-38, 0), (38, 0)], 9 + 2 * self._effusion), outside)
        canvas.paint("fluid", np.minimum(joint, 3 + 0 * joint) - 1.5 * (1 - self._effusion), opacity=0.9)
        notch = np.minimum(outside, ellipse(p, (0.5, -10), (self._notch + 2, 20)))
        canvas.paint("fat", notch - 0.5, patches * 0.9)
        articular = np.minimum(22 - np.abs(np.abs(p.x) - 21.5), np.minimum(p.y + 16, 14 - p.y))
        for bone in (femur, tibia):
            layer = np.minimum(np.minimum(outside, bone + self._cartilage), articular)
            canvas.paint("cartilage", layer + 0.2, patches)
        for side, edge, width in ((-1, 41, 13), (1, 40, 15)):
            apex = (side * (edge - width), 0.0)
            wedge = tube(p, [apex, (side * edge, 0)], (0.3, 5.5))
            between = np.minimum(wedge, -np.maximum(femur, tibia) - 0.7 * self._cartilage)
            canvas.paint("meniscus", between)
        canvas.paint("ligament", tube(p, [(-42, -26), (-43, -4), (-41, 12), (-33, 42)], (1.2, 1.1, 1.2, 0.9)))
        canvas.paint("ligament", tube(p, [(42, -24), (44, -2), (36, 22)], (1.2, 1.1, 1.2)))
        fibres = 1 + 0.5 * self._fibres(p, p.z)
        shift = 3 * p.z / 16
        anterior_cruciate = tube(p, [(8.5, -17), (3 - shift, 1)], (2.6, 3.2))
        posterior_cruciate = tube(p, [(-7, -12 - shift), (-1, -4 + 2 * shift)], (3.0, 3.4))
        canvas.paint("ligament", np.minimum(anterior_cruciate, outside), 1.6 * fibres)
        canvas.paint("ligament", np.minimum(posterior_cruciate, outside), fibres)
