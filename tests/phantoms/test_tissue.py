"""Contrasts are those of the sequences."""

import numpy as np
import pytest

from fm_unroll.phantoms.tissue import TISSUES, balanced_steady_state, spin_echo


def test_contrasts_are_those_of_their_sequences():
    t1, t2, flair = spin_echo(500, 10), spin_echo(5000, 100), spin_echo(9000, 120, ti=2500)
    white, grey, fluid = (TISSUES[name] for name in ("white_matter", "grey_matter", "cerebrospinal_fluid"))
    assert t1(white) > t1(grey) > t1(fluid) > 0
    assert t2(fluid) > t2(grey) > t2(white) > 0
    assert flair(grey) > flair(white) > 10 * abs(flair(fluid))
    assert spin_echo(3000, 30, fat_suppression=0.95)(TISSUES["fat"]) < 0.1 * spin_echo(3000, 30)(
        TISSUES["fat"]
    )
    cine = balanced_steady_state(3.2, 50)
    assert cine(TISSUES["blood"]) > 2 * cine(TISSUES["myocardium"]) > 0 > cine(TISSUES["fat"])
    myocardium = TISSUES["myocardium"]
    null = balanced_steady_state(2.7, 35, inversion=myocardium.t1 * np.log(2))
    assert null(myocardium) == pytest.approx(0, abs=1e-9)
    prepared = [balanced_steady_state(3, 35, t2_preparation=te)(myocardium) for te in (0, myocardium.t2)]
    assert prepared[1] / prepared[0] == pytest.approx(np.exp(-1))
