"""Calls in other processes, some of which never return or take their process with them."""

import os
import time

import pytest

from fm_unroll.data.parallel import each, each_watched
from fm_unroll.errors import InputError


def call(name: str) -> str:
    if name == "never returns":
        time.sleep(60)
    elif name == "crashes":
        os.abort()
    elif name == "refuses":
        raise InputError("no such thing")
    elif name == "has a bug":
        raise ZeroDivisionError(name)
    return name.upper()


def test_what_never_returns_or_crashes_is_a_result():
    names = ["a", "never returns", "b", "crashes", "refuses", "c"]
    outcomes = dict(each_watched(call, names, patience=6, description="calls"))
    assert list(outcomes) == names
    assert [outcomes[name] for name in "abc"] == ["A", "B", "C"]
    assert str(outcomes["never returns"]) == "never returns: damaged; not read within 6 s"
    assert str(outcomes["crashes"]).startswith("crashes: damaged; reading it crashes (")
    assert str(outcomes["refuses"]) == "no such thing"


def test_other_errors_are_not_results():
    with pytest.raises(ZeroDivisionError):
        list(each_watched(call, ["a", "has a bug", "b"], patience=5, description="calls"))


def test_who_stops_listening_does_not_wait_for_the_rest():
    begin = time.monotonic()
    for _ in each_watched(call, ["a", "never returns"], patience=50, description="calls"):
        break
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_order(workers: int):
    names = [str(number) for number in range(40)] + ["refuses"]
    *results, (last, error) = each(call, names, workers, "calls", bundle=3)
    assert results == [(name, name) for name in names[:-1]]
    assert last == "refuses" and isinstance(error, InputError)
