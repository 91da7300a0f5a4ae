"""A network that was trained elsewhere, beside our own in the numbers of a report."""

import numpy as np
import pandas as pd

from fake_records import fake_records
from fm_unroll.evaluation.arms import Arm
from fm_unroll.report.analysis import analyse
from fm_unroll.report.notices import notices

IMPORTED = Arm("imported/fastMRI_knee")


def records() -> pd.DataFrame:
    """Two seeds of each network for x8 on all knees, and one for x4 and x8 that was trained elsewhere."""
    methods, options = (
        ("varnet", "clip", "zero_filled"),
        {"accelerations": (4.0, 8.0), "anatomies": ("knee",)},
    )
    own = fake_records(methods, **options)
    own["train_acceleration"] = own.train_acceleration.where(own.train_acceleration.isna(), 8.0)
    own["training_data"] = np.where(own.seed.isna(), "", "hearts")
    networks = own.checkpoint_sha256.where(own.seed.isna(), own.method + own.seed.astype(str))
    own["checkpoint_sha256"] = networks
    theirs = own[(own.method == "varnet") & (own.seed == 0)].assign(
        method=IMPORTED.method, seed=np.nan, checkpoint_sha256="theirs", training_data="fastMRI"
    )
    theirs["train_acceleration"], theirs["train_anatomy"] = theirs.acceleration, "knee"
    return pd.concat([own, theirs], ignore_index=True)


def test_it_stands_in_the_tables_of_means_and_outside_of_comparisons():
    found = analyse(records())
    shown = found.means[found.means.status == "ok"]
    for acceleration in (4, 8):
        here = set(shown.arm[shown.acceleration == acceleration])
        assert {IMPORTED, Arm("varnet"), Arm("zero_filled")} < here  # at x4 too, where ours are those for x8
    assert found.baselines == [Arm("varnet")]
    for table in (found.comparisons, found.subjects, found.interactions, found.crossings):
        assert IMPORTED not in {*table.get("arm", ()), *table.get("baseline", ())}
    assert (IMPORTED, Arm("varnet")) in found.apart
    lines = [line for line in notices(found.records, found.means, found.apart) if IMPORTED.label in line]
    assert any("multicoil_val is not unseen" in line for line in lines)
