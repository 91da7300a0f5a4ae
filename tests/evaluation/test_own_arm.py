"""A network of the user's own beside others in the numbers of a report."""

import pandas as pd

from fake_records import fake_records
from fm_unroll.evaluation.arms import Arm
from fm_unroll.report.analysis import analyse
from fm_unroll.report.sentences import control_headline, headline

OWN, BASELINE, CLIP = Arm("nets:Mine"), Arm("varnet"), Arm("clip", "clip", "pretrained")


def test_it_is_compared_with_the_baseline_and_is_no_prior_and_no_control():
    """Two seeds of it, which have the very numbers of the prior: so have its comparisons."""
    theirs = fake_records(("varnet", "clip", "random", "zero_filled"), anatomies=("knee",))
    mine = theirs[theirs.method == "clip"].assign(
        method=OWN.method, encoder="", encoder_sha256="", encoder_weights=""
    )
    mine["checkpoint_sha256"] = "mine" + mine.checkpoint_sha256.astype(str)
    found = analyse(pd.concat([theirs, mine], ignore_index=True))
    assert OWN in found.arms and found.priors == [CLIP] and found.baselines == [BASELINE]
    ssim = found.comparisons[found.comparisons.metric == "ssim"]
    own, prior = (ssim[ssim.arm == arm].reset_index(drop=True) for arm in (OWN, CLIP))
    assert len(own) and (own.seeds == prior.seeds).all() and own.covers_seeds.all()
    pd.testing.assert_series_equal(own.difference, prior.difference)
    assert OWN not in {*found.controls.arm, *found.controls.baseline}
    known = found.comparisons[found.comparisons.metric == "ssim"]
    sentences = headline(found.priors, known, found.crossings) + control_headline(found.controls, known)
    assert sentences and not any("Mine" in sentence for sentence in sentences)
