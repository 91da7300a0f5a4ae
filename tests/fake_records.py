"""Records and pictures as a cross-domain run would leave them: known effects, no training."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from fm_unroll.evaluation.arms import Arm
from fm_unroll.evaluation.records import SliceRecord, columns, read_records
from fm_unroll.evaluation.selection import PLACE, pictured, shown_runs

CENTERS = {"cardiac": ("24 ACS lines",), "knee": ("0.08", "0.04"), "brain": ("0.08", "0.04")}
DATASETS = {"cardiac": "Phantom heart", "knee": "Phantom knee", "brain": "Phantom head"}
ENCODERS = ("clip", "dinov2", "biomedclip", "random")
UNTRAINED = ("zero_filled", "cg_sense", "wavelet")
ALL_METHODS = ("varnet", "clip", "dinov2", "biomedclip", "random", "varnet_wide", *UNTRAINED)
# SSIM of a method minus that of varnet at true acceleration r: slope * (r - r0)
EFFECTS = {
    "varnet": (0.0, 0.0),
    "clip": (0.012, 3.9),
    "dinov2": (0.002, 12.0),
    "biomedclip": (0.010, 3.7),
    "random": (-0.002, 2.0),
    "image_skip_only": (-0.003, 2.0),
    "varnet_wide": (0.0005, 2.0),
    "varnet_zero": (0.001, 2.0),
    "zero_filled": (-0.03, 0.0),
    "cg_sense": (-0.02, 0.5),
    "wavelet": (-0.012, 0.5),
}
# A physics in which SSIM falls less with the acceleration, and others gain a share only.
LIFT, SHARE = {"paper": 0.0, "anchored": 0.006}, {"paper": 1.0, "anchored": 0.1}


def true_acceleration(acceleration: float, center: str) -> float:
    fraction = {"0.08": 0.08, "0.04": 0.04}.get(center, 0.12)
    return 1 / (fraction + (1 - fraction) / acceleration)


def sha(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def fake_records(
    methods: tuple[str, ...] = ALL_METHODS,
    *,
    anatomies: tuple[str, ...] = ("cardiac", "knee", "brain"),
    subjects: int = 8,
    slices: int = 2,
    seeds: int = 2,
    accelerations: tuple[float, ...] = (4.0, 8.0, 10.0),
    synthetic: bool = True,
    encoder_weights: str = "pretrained",
    physics: tuple[str, ...] = ("paper",),
) -> pd.DataFrame:
    """One row per slice; `EFFECTS` are the true differences, subjects and seeds vary about them."""
    runs = [(name, "") for name in methods if name in UNTRAINED]
    runs += [
        (name, kind)
        for kind in physics
        for name in methods
        if name not in UNTRAINED and (kind == "paper" or name != "varnet")  # elsewhere its head is zero
    ]
    rows = []
    for anatomy in anatomies:
        for center in CENTERS[anatomy]:
            for acceleration in accelerations:
                true = true_acceleration(acceleration, center)
                for subject in range(subjects):
                    for number in range(slices):
                        place = (anatomy, center, acceleration, subject, number)
                        shared = np.random.default_rng(int(sha(*place)[:8], 16)).normal(0, 0.02)
                        for run in runs:
                            for seed in (np.nan,) if run[0] in UNTRAINED else range(seeds):
                                where = (anatomy, center, acceleration, true, subject, number)
                                rows.append(_record(*run, seed, where, shared, synthetic, encoder_weights))
    return pd.DataFrame([record.row() for record in rows], columns=list(columns()))


def arm(method: str, encoder_weights: str = "pretrained", physics: str = "paper") -> Arm:
    """The arm of the rows that `fake_records` makes of a method."""
    if method not in ENCODERS:
        return Arm(method, physics=physics)
    weights = "random" if method == "random" else encoder_weights
    return Arm(method, method, weights, physics=physics)


def gain(method: str, physics: str, true: float) -> float:
    """True SSIM of a network minus that of the paper's `varnet`, at a true acceleration."""
    slope, origin = EFFECTS[method]
    return LIFT[physics or "paper"] * true + SHARE[physics or "paper"] * slope * (true - origin)


def _record(method, physics, seed, where, shared, synthetic, encoder_weights) -> SliceRecord:
    anatomy, center, acceleration, true, subject, number = where
    network = method if physics in ("", "paper") else f"{method} {physics}"
    own = np.random.default_rng(
        int(sha(network, seed, anatomy, center, acceleration, subject, number)[:8], 16)
    )
    of_seed = 0 if np.isnan(seed) else np.random.default_rng(int(sha(network, seed)[:8], 16)).normal(0, 0.002)
    ssim = 0.97 - 0.025 * true + shared + gain(method, physics, true) + of_seed + own.normal(0, 0.004)
    target_energy = 1500.0 + 10 * subject + number
    nmse = (1 - ssim) ** 2 * 0.6
    encoder = method if method in ENCODERS else ""
    untrained = method in UNTRAINED
    weights = "" if not encoder else "random" if method == "random" else encoder_weights
    pixels, data_range = 96 * 80, 4.0 + 0.1 * subject
    return SliceRecord(
        protocol_version=2,
        method=method,
        train_acceleration=np.nan if untrained else acceleration,
        seed=seed,
        checkpoint_sha256="" if untrained else sha(network, acceleration, seed),
        encoder=encoder,
        encoder_sha256=sha(encoder) if encoder else "",
        encoder_weights=weights,
        trained_on_synthetic=synthetic and not untrained,
        dataset=DATASETS[anatomy],
        anatomy=anatomy,
        synthetic=synthetic,
        subject=f"{anatomy[0].upper()}{subject:03d}",
        volume=f"{anatomy[0].upper()}{subject:03d}/scan",
        slice=number,
        frame=0,
        contrast={"cardiac": "cine_sax", "knee": "CORPD_FBK", "brain": "AXT2"}[anatomy],
        acceleration=acceleration,
        true_acceleration=true,
        center=center,
        acs_lines=24 if anatomy == "cardiac" else round(float(center) * 368),
        mask_sha256=sha("mask", anatomy, center, acceleration, subject),
        scores={
            "data_range": data_range,
            "ssim": ssim,
            "psnr": 10 * np.log10(data_range**2 * pixels / (nmse * target_energy)),
            "nmse": nmse,
            "squared_error": nmse * target_energy,
            "target_energy": target_energy,
            "pixels": pixels,
            "challenge_ssim": min(ssim + 0.01, 1.0),
            "challenge_psnr": 10 * np.log10(pixels / (nmse * target_energy)) + 10,
            "challenge_nmse": 0.9 * nmse,
        },
        status="ok",
        hyper_parameters=network.removeprefix(method),
        physics=physics,
        besides_physics="" if untrained else sha(method)[:12],
        train_anatomy="" if untrained else "cardiac",
    )


def write_run(folder: Path, records: pd.DataFrame, stored: bool = True) -> Path:
    """Write records.csv, images/, priors.json and provenance.json as a run would; return records.csv."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    records.to_csv(folder / "records.csv", index=False)
    shown = shown_runs(read_records(folder / "records.csv"))
    for number, place in enumerate(pictured(shown) if stored else ()):
        target = head(sum(map(ord, place.volume)))
        rows = shown[(shown[list(PLACE)] == list(place)).all(axis=1)]
        images = {f"image/{r.arm}": _degrade(target, r.squared_error, r.method) for r in rows.itertuples()}
        np.savez(folder / "images" / f"{number:03d}.npz", target=target, **place._asdict(), **images)
    rng = np.random.default_rng(0)
    priors = {
        name: {
            "fusion": rng.dirichlet(np.linspace(1, 6, 6) * 3, size=12).tolist(),
            "step_sizes": rng.normal(1, 0.2, 12).tolist(),
            "blocks": [1, 2, 3, 4, 5, 6],
        }
        for name in ("clip", "dinov2")
    }
    if "anchored" in set(records.physics):
        weights = {name: rng.uniform(0.1, 0.4, 12).tolist() for name in ("pulls", "strengths")}
        priors["clip [anchored]"] = priors["clip"] | weights | {"step_sizes": []}
    (folder / "priors.json").write_text(json.dumps(priors))
    provenance = {
        "fm_unroll": "0.1.0",
        "commit": "0123abc",
        "packages": {"torch": "2.15.0"},
        "cpu_threads": 2,
        "wall_time_s": 192.3,
    }
    (folder / "provenance.json").write_text(json.dumps(provenance))
    return folder / "records.csv"


def head(seed: int) -> np.ndarray:
    """An ellipse with structures in it, float32 (96, 80)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:96j, -1:1:80j]
    image = 0.5 * ((x / 0.8) ** 2 + (y / 0.9) ** 2 < 1).astype(float) + 0.4 * (
        ((x / 0.8) ** 2 + (y / 0.9) ** 2 < 1) & ((x / 0.73) ** 2 + (y / 0.83) ** 2 > 1)
    )
    for _ in range(14):
        cx, cy, a, b = *rng.uniform(-0.5, 0.5, 2), *rng.uniform(0.04, 0.25, 2)
        image += rng.uniform(-0.25, 0.35) * (((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 < 1)
    return gaussian_filter(image, 0.6).clip(0).astype(np.float32)


def _degrade(target: np.ndarray, squared_error: float, method: str) -> np.ndarray:
    """Blur and alias the target until its squared error is the recorded one."""
    rng = np.random.default_rng(sum(map(ord, method)))
    error = (
        np.roll(target, 20, axis=1)
        - np.roll(target, -20, axis=1)
        + gaussian_filter(rng.normal(size=target.shape), 1)
    )
    error = 0.5 * error + 3 * (gaussian_filter(target, 1.5) - target)
    scale = np.sqrt(squared_error / (error**2).sum())
    return np.abs(target + scale * error).astype(np.float32)
