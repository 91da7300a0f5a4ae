from dataclasses import replace

import pytest

from fm_unroll.encoders import registry
from fm_unroll.evaluation.arms import BASELINE, CONTROLS, LOOKS, Arm

CLIP = Arm("clip", "clip", "pretrained")


@pytest.mark.parametrize(
    ("arm", "text", "label", "kind"),
    [
        (Arm("varnet"), "varnet", "E2E-VarNet", "baseline"),
        (CLIP, "clip", "CLIP", "prior"),
        (CLIP.with_random_weights(), "clip [random]", "CLIP (random weights)", "control"),
        (Arm("clip", "clip", "pretrained", "3f2a1b"), "clip #3f2a1b", "CLIP (training 3f2a1b)", "prior"),
        (
            Arm("clip", "clip", "random", "3f2a1b"),
            "clip [random] #3f2a1b",
            "CLIP (random weights, training 3f2a1b)",
            "control",
        ),
        (CLIP.with_shuffled_weights(), "clip [shuffled pretrained]", "CLIP (shuffled weights)", "control"),
        (
            Arm("clip", "clip", "shuffled file:tiny.pt"),
            "clip [shuffled file:tiny.pt]",
            "CLIP (shuffled tiny.pt weights)",
            "control",
        ),
        (Arm("trained_embedding"), "trained_embedding", "Trained embedding", "control"),
        (Arm("varnet_zero"), "varnet_zero", "VarNet, zero head", "control"),
        (Arm("varnet", variant="3f2a1b"), "varnet #3f2a1b", "E2E-VarNet (training 3f2a1b)", "baseline"),
        (Arm("clip", "clip", "file:tiny.pt"), "clip [file:tiny.pt]", "CLIP (tiny.pt weights)", "prior"),
        (
            Arm("clip", "clip", "file:tiny.pt (activation not stated)"),
            "clip [file:tiny.pt (activation not stated)]",
            "CLIP (tiny.pt weights, activation not stated)",
            "prior",
        ),
        (Arm("random", "random", "random"), "random", "Random encoder", "control"),
        (Arm("image_skip_only"), "image_skip_only", "Image skip only", "control"),
        (Arm("zero_filled"), "zero_filled", "Zero-filled", "classical"),
        (Arm("timm/vit", "timm/vit", "pretrained"), "timm/vit", "vit", "prior"),
        (Arm("mine"), "mine", "mine", "control"),
        (Arm("a.nets:Mine"), "a.nets:Mine", "Mine", "own"),
        (Arm("a.nets:Mine", variant="3f2a1b"), "a.nets:Mine #3f2a1b", "Mine (training 3f2a1b)", "own"),
        (replace(CLIP, physics="anchored"), "clip [anchored]", "CLIP (anchored)", "prior"),
        (
            Arm("clip", "clip", "random", "3f2a1b", "anchored"),
            "clip [random, anchored] #3f2a1b",
            "CLIP (random weights, anchored, training 3f2a1b)",
            "control",
        ),
        (Arm("varnet_zero", physics="anchored"), "varnet_zero [anchored]", "U-Net (anchored)", "baseline"),
        (Arm("random", physics="anchored"), "random [anchored]", "Random encoder (anchored)", "control"),
        (Arm("mixed", "clip", "pretrained"), "mixed [clip]", "Mixed (CLIP)", "prior"),
        (
            Arm("mixed", "clip", "random", "3f2a1b"),
            "mixed [clip, random] #3f2a1b",
            "Mixed (CLIP, random weights, training 3f2a1b)",
            "control",
        ),
        (
            Arm("varnet x 8, clip x 4", "clip", "pretrained"),
            "varnet x 8, clip x 4",
            "E2E-VarNet x 8, CLIP x 4",
            "prior",
        ),
        (
            Arm("clip x 8, random x 4", "clip + random", "pretrained + random"),
            "clip x 8, random x 4",
            "CLIP x 8, Random encoder x 4",
            "prior",
        ),
        (
            Arm("clip x 8, random x 4", "clip + random", "random + random"),
            "clip x 8, random x 4 [random + random]",
            "CLIP x 8, Random encoder x 4 (random weights + random weights)",
            "control",
        ),
        (
            Arm("clip x 8, dinov2 x 4", "clip + dinov2", "pretrained + file:a.pt").with_shuffled_weights(),
            "clip x 8, dinov2 x 4 [shuffled pretrained + shuffled file:a.pt]",
            "CLIP x 8, DINOv2 x 4 (shuffled weights + shuffled a.pt weights)",
            "control",
        ),
        (
            Arm("clip x 8, dinov2 x 4", "clip + dinov2", "pretrained + pretrained").with_random_weights(),
            "clip x 8, dinov2 x 4 [random + random]",
            "CLIP x 8, DINOv2 x 4 (random weights + random weights)",
            "control",
        ),
    ],
)
def test_text_label_and_kind(arm, text, label, kind):
    assert (str(arm), arm.label, arm.kind) == (text, label, kind)


def test_arms_sort_as_tables_list_them():
    other = Arm("my_vit", "my_vit", "pretrained")
    arms = [BASELINE, CLIP, CLIP.with_random_weights(), *CONTROLS, Arm("wavelet"), other]
    backwards = arms[::-1]
    assert sorted(backwards) == arms
    assert other.color is None and BASELINE.color == LOOKS["varnet"].color


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Arm("mine_a"), Arm("mine_b")),
        (Arm("mine", "vit_a", "pretrained"), Arm("mine", "vit_b", "pretrained")),
        (Arm("clip", "clip", "pretrained"), Arm("clip", "clip", "random")),
        (Arm("clip", variant="0"), Arm("clip", variant="1")),
        (Arm("clip"), Arm("clip", physics="anchored")),
        (Arm("varnet"), Arm("varnet_zero", physics="anchored")),
        (Arm("varnet_zero", physics="anchored"), Arm("clip")),
    ],
)
def test_arms_that_differ_in_one_thing_have_one_order(first, second):
    assert sorted([second, first]) == sorted([first, second]) == [first, second]


def test_a_variant_is_another_arm_of_the_same_method():
    other = Arm("clip", "clip", "pretrained", "0123ab")
    assert other != CLIP and other.of_any_training == CLIP
    assert other.with_random_weights() == CLIP.with_random_weights()


def test_arms_are_compared_in_one_physics_or_as_one_network_in_two():
    anchored = replace(CLIP, physics="anchored")
    u_net = Arm("varnet_zero", physics="anchored")
    assert anchored.comparable(u_net) and CLIP.comparable(BASELINE) and anchored.comparable(CLIP)
    assert not anchored.comparable(BASELINE) and not u_net.comparable(BASELINE)
    assert all(arm.comparable(Arm("wavelet")) and Arm("wavelet").comparable(arm) for arm in (CLIP, anchored))
    assert anchored.differs_in_physics(CLIP) and not anchored.differs_in_physics(anchored)
    assert not anchored.differs_in_physics(CLIP.with_random_weights())
    assert replace(anchored, variant="0123ab").differs_in_physics(CLIP)
    assert u_net.color == BASELINE.color != Arm("varnet_zero").color


def test_an_encoder_brings_its_label(tiny, monkeypatch):
    assert Arm("tiny", "tiny", "pretrained").label == "tiny"
    named = registry.EncoderSpec(**{**vars(tiny), "label": "Tiny ViT"})
    monkeypatch.setitem(registry._REGISTRY, "tiny", named)
    assert Arm("tiny", "tiny", "pretrained").label == "Tiny ViT"
