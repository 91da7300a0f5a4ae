"""The centre of a mask as a value: where a fraction ends and a number of lines begins."""

import pytest

from fm_unroll.errors import InputError
from fm_unroll.physics import Center


def test_one_is_a_line_and_what_is_below_is_a_fraction():
    assert Center.parse(1) == Center.parse(1.0) == Center(lines=1)
    assert Center.parse(0.99) == Center(fraction=0.99)


def test_a_fraction_may_be_the_whole_and_no_more():
    assert Center(fraction=1.0).num_acs(204) == 204
    with pytest.raises(InputError, match=r"center_fraction is 1\.01: give a fraction from 0 to 1"):
        Center(fraction=1.01)
