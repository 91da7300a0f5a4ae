"""Methods as they are written: names, lists of names, and nothing else."""

import pytest

from fm_unroll.errors import InputError
from fm_unroll.methods import cascades_of, folder_name, parts_of


def test_a_list_says_which_denoiser_each_cascade_has():
    assert cascades_of("varnet x 2, clip x 3") == ["varnet", "varnet", "clip", "clip", "clip"]
    assert cascades_of("clip x 1, varnet x 1, clip x 1", 3) == ["clip", "varnet", "clip"]
    assert cascades_of("timm/vit x 10, clip x 1")[9:] == ["timm/vit", "clip"]


def test_one_name_stands_in_all_cascades():
    assert cascades_of("clip", 3) == ["clip"] * 3
    assert cascades_of("clip") == ["clip"] * 12
    assert parts_of("timm/vit_tiny.augreg") == [("timm/vit_tiny.augreg", None)]


@pytest.mark.parametrize(
    "method",
    [
        "varnet x 8",  # that is method varnet with num_cascades 8
        "varnet x 4, varnet x 4",
        "varnet x 0, clip x 4",
        "varnet x -1, clip x 4",
        "varnet, clip",
        "varnet x 8, clip",
        "varnet ",
        ",",
    ],
)
def test_each_list_has_one_spelling(method):
    with pytest.raises(InputError, match="such as 'varnet x 8, clip x 4'") as caught:
        parts_of(method)
    assert repr(method) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "method",
    [
        "varnet x8, clip x 4",
        "varnet x 8,clip x4",
        "varnet x 08, clip x 4",
        "[varnet x 8, clip x 4]",
        "varnet x 8, clip x 4, ",
    ],
)
def test_another_spelling_is_answered_with_the_right_one(method):
    with pytest.raises(InputError, match="write it as 'varnet x 8, clip x 4'"):
        parts_of(method)
    assert parts_of("varnet x 8, clip x 4") == [("varnet", 8), ("clip", 4)]


def test_numbers_that_contradict_each_other_are_refused():
    with pytest.raises(InputError, match="num_cascades is 12, method 'varnet x 8, clip x 3' has 11: leave"):
        cascades_of("varnet x 8, clip x 3", 12)
    for number in (0, -1):
        with pytest.raises(InputError, match=f"num_cascades is {number}: give 1 or more"):
            cascades_of("varnet", number)


def test_folders_have_names_without_spaces_and_slashes():
    assert folder_name("timm/vit_tiny") == "timm-vit_tiny"
    assert folder_name("varnet x 8, clip x 4") == "varnet-x-8-clip-x-4"
