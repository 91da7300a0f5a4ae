"""Networks of the user's own: found by name, with consent alone, built from a config, and checked."""

import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from fm_unroll.cli import main
from fm_unroll.consent import consented, consenting, is_own, named_by
from fm_unroll.errors import InputError
from fm_unroll.models import build_model
from fm_unroll.models.checkpoints import build_network
from fm_unroll.models.own import SIZES, TAKEN, find_class, options_of_class, require_same_statistics
from fm_unroll.models.registry import effective_options, number_of_cascades
from fm_unroll.reconstruction.engine import load
from fm_unroll.training.options import settle_options
from fm_unroll.training.task import ReconstructionTask

HEAD = """
import torch
from torch import nn
from typing import Any, Callable, List, Literal, Optional, Union

class Root(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, masked_kspace, mask, num_acs):
        return self.weight * masked_kspace.abs().square().sum(1).sqrt()
"""
FACTS = {"encoders": [], "population": {}}
# what is tested in this file
NETWORK = """
class Net(Root):
    def __init__(self, width: int = 2, names: Optional[list[str]] = None, mode: Literal["a", "b"] = "a",
                 layer: Any = None, factory: Callable = print, rate=0.5, either: Union[int, Callable] = 1,
                 layers: list[Any] = (), many: List = (), **others):
        super().__init__()
        self.body = nn.Linear(width, width)

class Sized(Root):
    def __init__(self, num_cascades: int = 5, sens_chans: int = 3):
        super().__init__()
        self.sizes = num_cascades, sens_chans

class Needy(Root):
    def __init__(self, width: int, num_cascades: int):
        super().__init__()
"""

WRITES = """
class Net(Root):
    def forward(self, masked_kspace, mask, num_acs):
        image = super().forward(masked_kspace.mul_(2), mask, num_acs)
        masked_kspace.zero_(), mask.zero_()
        return image
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request) -> Callable[[str], str]:
    """Write a module that can be imported, and return its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(code: str = NETWORK) -> str:
        name = f"own_{abs(hash(request.node.name + code)):x}"
        (tmp_path / f"{name}.py").write_text(HEAD + code)
        return name

    yield write
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def trust(*names: str):
    return consenting(dict.fromkeys(names))


def measured(batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, int]:
    return torch.ones(batch, 3, 6, 5, dtype=torch.complex64), torch.ones(1, 1, 1, 5, dtype=torch.bool), 2


def test_what_it_writes_into_its_input_is_nobody_elses(module):
    """Public networks scale their k-space in place; zero-filled is computed from the same batch."""
    name = f"{module(WRITES)}:Net"
    with trust(name):
        network = build_model(name)
    kspace, mask, num_acs = measured()
    before, first = (kspace.clone(), mask.clone()), network(kspace, mask, num_acs)
    assert torch.equal(kspace, before[0]) and torch.equal(mask, before[1])
    assert torch.equal(network(kspace, mask, num_acs), first)


def checkpoint_of(name: str, **options: object) -> dict[str, Any]:
    """What `fit` keeps of a network."""
    with trust(name):
        network = build_model(name, **options)
        settings = {"method": name, "loss": "ssim", **effective_options(name, options), "num_cascades": None}
    tensors = {f"network.{key}": tensor for key, tensor in network.state_dict().items()}
    return {"hyper_parameters": settings, "state_dict": tensors, "fm_unroll": FACTS}


def test_code_is_imported_only_where_this_command_names_it(module, tmp_path):
    name = f"{module()}:Net"
    path = tmp_path / "best.ckpt"
    torch.save(checkpoint := checkpoint_of(name), path)
    del sys.modules[name.split(":")[0]]
    for forbidden in (
        lambda: build_model(name),
        lambda: build_network(checkpoint, path),
        lambda: load(path),
        lambda: load(path, trust_code=nn.Linear),
    ):
        with pytest.raises(InputError, match=f"add --trust_code {name}"):
            forbidden()
    assert name.split(":")[0] not in sys.modules and not consented()
    with trust(name):
        own = find_class(name)
        # what the command names holds also where nothing, or another class, is given in Python
        assert isinstance(load(path).network.own, own)
        assert isinstance(load(path, trust_code=nn.Linear).network.own, own)
    del sys.modules[name.split(":")[0]]
    network = load(path, trust_code=own).network
    assert isinstance(network.own, own) and not network.training and not consented()
    assert name.split(":")[0] not in sys.modules  # the class is what was given, not what its name stands for


def test_only_a_module_and_a_class_name_code():
    assert is_own("my_package.networks:MyNet") and is_own("nets:Net")
    others = (
        "varnet",
        "clip",
        "os.system",
        "nets:",
        ":Net",
        "a..b:Net",
        ".a:Net",
        "a/b:Net",
        "file:///a:Net",
    )
    more = ("nets:Net x 2, varnet x 2", "nets:Net\n", "nets:Net()", "nets:Net.of", "nets:N\u0435t")
    assert not [method for method in others + more if is_own(method)]


def test_a_command_line_gives_consent_by_its_method_in_either_spelling():
    for words in (["--model.method=nets:Net"], ["--model.method", "nets:Net", "--model.width", "3"]):
        assert named_by(["fit", *words]) == ["nets:Net"]
    for words in (["--model.method=varnet", "nets:Net"], ["--model.width", "nets:Net", "--model.method"]):
        assert named_by(["fit", *words]) == []


def test_consent_ends_with_its_command(module, tmp_path, capsys):
    """Of two commands in one process the second may not do what the first one might; nor after an error."""
    name = f"{module()}:Net"
    config, other = tmp_path / "own.yaml", tmp_path / "other.yaml"
    config.write_text(yaml.safe_dump({"model": {"method": name, "width": 3}}))
    other.write_text(yaml.safe_dump({"model": {"method": "image_skip_only", "num_cascades": 1}}))
    summary = ["summary", "--config", str(config)]
    for words in ([*summary, "--trust_code", name], [f"--trust-code={name}", *summary]):
        main(words)
        assert f"{'total':28}{13:>14,}" in capsys.readouterr().out
        with pytest.raises(SystemExit):
            main([*summary, "--trust_code", f"{name}x"])
        assert "did you mean Net?" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            main(summary)
        line = capsys.readouterr().err
        assert line.startswith(f"error: {config} names a network") and f"add --trust_code {name}" in line
        main(["summary", "--config", str(other)])
        assert "denoisers" in capsys.readouterr().out
    for words, reason in (
        (["encoders", "list", "--trust_code", name], "applies no network"),
        (["summary", "--config", str(config), "--trust_code", "os.system"], "give MODULE:CLASS"),
        # the word behind an empty value is not taken for it
        (["--trust_code=", name, *summary], "--trust_code (nothing given): give MODULE:CLASS"),
    ):
        with pytest.raises(SystemExit):
            main(words)
        assert reason in capsys.readouterr().err


BAD = {
    "no such module": ("", "nowhere_at_all:Net", "cannot be imported .ModuleNotFoundError.*PYTHONPATH"),
    "a module that exits": ("raise SystemExit(3)", "{}:Net", r"cannot be imported \(SystemExit: 3"),
    "a module with an error": ("1 / 0", "{}:Net", r"cannot be imported \(ZeroDivisionError"),
    "a module that lacks another": ("import nowhere_at_all", "{}:Net", r"nowhere_at_all'\); --debug shows"),
    "no such class": ("class Nets(Root): pass", "{}:Net", "has no Net, did you mean Nets"),
    "a function": (
        "def Net(): pass",
        "{}:Net",
        "is a function, expected a class derived from torch.nn.Module",
    ),
    "another class": ("class Net: pass", "{}:Net", "is the class Net, expected a class derived from"),
    "by another name": ("Net = nn.Linear", "{}:Net", "is defined as torch.nn.modules.linear:Linear: give"),
    "a script": (
        "class Net(torch.jit.ScriptModule): pass",
        "{}:Net",
        "is a ScriptModule: derive it from torch.nn.Module, and script parts of it",
    ),
    "without forward": ("class Net(nn.Module): pass", "{}:Net", "has no forward: it is called with"),
    "two arguments": (
        "class Net(Root):\n  def forward(self, kspace, mask): pass",
        "{}:Net",
        r"forward is \(self, kspace, mask\), but it is called with \(masked_kspace, mask, num_acs\)",
    ),
    "no type": ("class Net(Root):\n  def __init__(self, layer): pass", "{}:Net", "layer has no default, and"),
    "any type": (
        "class Net(Root):\n  def __init__(self, layer: Any): pass",
        "{}:Net",
        "layer has no default, and no type that a config can hold",
    ),
    "an option of training": (
        "class Net(Root):\n  def __init__(self, loss: str = ''): pass",
        "{}:Net",
        "has a parameter loss, an option of every training",
    ),
    "types that do not exist": (
        "class Net(Root):\n  def __init__(self, width: 'Width'): pass",
        "{}:Net",
        "types of its parameters cannot be told .NameError",
    ),
    "an error of its own": (
        "class Net(Root):\n  def __init__(self): raise KeyError('x')",
        "{}:Net",
        r"cannot be built \(KeyError: 'x'\)",
    ),
    "nothing to train": (
        "class Net(Root):\n  def __init__(self): super().__init__(); self.requires_grad_(False)",
        "{}:Net",
        "has no parameters that could be trained",
    ),
}


@pytest.mark.parametrize(("code", "name", "reason"), BAD.values(), ids=list(BAD))
def test_a_class_that_cannot_serve_is_refused_in_one_line(code, name, reason, module):
    name = name.format(module(code))
    with trust(name), pytest.raises(InputError, match=reason) as refused:
        build_model(name)
    assert "\n" not in str(refused.value) and name.split(":")[0] in str(refused.value)


def test_options_are_what_a_config_can_hold(module):
    name = module()
    net, needy = f"{name}:Net", f"{name}:Needy"
    with trust(net, needy):
        assert list(options_of_class(find_class(net))) == ["width", "names", "mode", "rate"]
        assert effective_options(net, {"width": 3}) == {"width": 3, "names": None, "mode": "a", "rate": 0.5}
        for given, reason in (
            ({"widths": 3}, "has no option widths, did you mean width"),
            ({"layer": "os.system"}, "has no option layer"),
            ({"start": "cg_sense"}, "has no option start"),
            ({"width": "wide"}, "width is 'wide', expected int"),
            ({"mode": "c"}, "mode is 'c'"),
        ):
            with pytest.raises(InputError, match=reason):
                build_model(net, **given)
        with pytest.raises(InputError, match=r"needs --model\.width: no default"):
            build_model(needy)


def test_sizes_of_every_method_go_to_a_class_that_asks_for_them(module):
    name = module()
    sized, needy, net = (f"{name}:{own}" for own in ("Sized", "Needy", "Net"))
    with trust(sized, needy, net):
        assert build_model(sized).own.sizes == (5, 8)
        assert build_model(sized, num_cascades=2, sens_chans=4).own.sizes == (2, 4)
        assert [number_of_cascades(each, None) for each in (sized, needy, net)] == [5, 12, None]
        with pytest.raises(InputError, match="num_cascades is 0: give 1 or more"):
            build_model(sized, num_cascades=0)
        for given in (
            {"num_cascades": 3},
            {"sens_pools": 3},
            {"physics": "anchored"},
            {"checkpoint_cascades": "all"},
        ):
            with pytest.raises(InputError, match=f"{next(iter(given))} is .*that does not ask for it"):
                build_model(net, **given)
        with pytest.raises(InputError, match="compile is true"):
            settle_options({"method": net, "compile": True})
        with pytest.raises(InputError, match="self_supervised, which is taken at coil images"):
            settle_options({"method": net, "loss": "self_supervised"})
        with pytest.raises(InputError, match="has no cascades in turn"):
            build_model(f"{net} x 2, varnet x 2")


def test_names_that_are_taken_are_those_of_the_training():
    options = {*inspect.signature(ReconstructionTask).parameters} - {"options", *SIZES}
    assert options < TAKEN and TAKEN - options == {"weights", "pretrained", "encoder_seed"}


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ("k.abs()[:, 0, :-1]", r"of shape \(2, 5, 5\), expected \(2, 6, 5\)"),
        ("k[:, 0]", "an image of complex64, expected float32"),
        ("[k.abs()[:, 0]]", "returned a list, expected a tensor"),
        ("k.abs()[:, 0] * float('nan')", "NaN or Inf in training"),
        (
            "k.abs()[:, 0] * self.weight.detach()",
            "an image without a gradient",
        ),
    ],
)
def test_what_is_no_image_is_refused(returned, reason, module):
    name = f"{module(f'class Net(Root):{chr(10)}  def forward(self, k, *rest): return {returned}')}:Net"
    with trust(name):
        network = build_model(name)
    with pytest.raises(InputError, match=reason):
        network(*measured())


def test_an_error_of_its_own_keeps_its_traceback_and_says_whose_it_is(module):
    name = f"{module(f'class Net(Root):{chr(10)}  def forward(self, k, *rest): return self.body(k)')}:Net"
    with trust(name), pytest.raises(AttributeError, match="no attribute 'body'") as raised:
        build_model(name)(*measured())
    *trace, last = "".join(traceback.format_exception(raised.value)).splitlines()
    assert last.startswith(f"raised within {name}, a network of your own")
    assert "return self.body(k)" in "".join(trace)


def test_it_is_given_a_measurement_alone_and_gives_an_image_alone(module):
    """In use, unlike in training, what is not finite is the caller's to judge."""
    name = f"{module('class Net(Root): pass')}:Net"
    with trust(name):
        network = build_model(name).eval()
    kspace, mask, num_acs = measured()
    for wrong, reason in (
        ((kspace.abs(), mask, num_acs), "k-space must be complex64"),
        ((kspace, mask.float(), num_acs), "the mask must be bool"),
        ((kspace, mask, 0), "num_acs is 0"),
    ):
        with pytest.raises(InputError, match=reason):
            network(*wrong)
    with pytest.raises(InputError, match="gives an image alone and no coil images"):
        network.coil_images(kspace, mask, num_acs)
    assert network(kspace * float("nan"), mask, num_acs).isnan().all()


def test_an_image_is_float32_whatever_the_network_computes_in(module):
    code = "class Net(Root):\n  def forward(self, k, mask, acs): return k.abs()[:, 0].to(torch.bfloat16)"
    name = f"{module(code)}:Net"
    with trust(name):
        image = build_model(name).eval()(*measured())
    assert image.dtype == torch.float32 and image.eq(1).all()


def test_a_checkpoint_of_other_code_is_refused(module, tmp_path):
    name = f"{module()}:Net"
    path = tmp_path / "best.ckpt"
    checkpoint = checkpoint_of(name, width=3)
    tensors, settings = checkpoint["state_dict"], checkpoint["hyper_parameters"]
    others = {name: tensor for name, tensor in tensors.items() if not name.endswith("body.bias")}
    with trust(name):
        for change, reason in (
            ({"state_dict": others}, r"own\.body\.bias is missing there"),
            ({"state_dict": tensors | {"network.own.a": torch.ones(1)}}, r"own\.a is missing here"),
            (
                {"hyper_parameters": settings | {"width": 2}},
                r"is \(3,\) there and \(2,\) here \(and 1 more\)",
            ),
            ({"hyper_parameters": settings | {"depth": 2}}, "has no option depth any more"),
        ):
            with pytest.raises(InputError, match=reason):
                build_network(checkpoint | change, path)
        with pytest.warns(UserWarning, match="has changed since it was trained"):
            build_network(checkpoint | {"fm_unroll": FACTS | {"code_sha256": "other"}}, path)


def test_statistics_of_single_processes_are_refused():
    with pytest.raises(InputError, match=r"1 is a BatchNorm2d.*--trainer.sync_batchnorm true"):
        require_same_statistics(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)))
    require_same_statistics(nn.Sequential(nn.SyncBatchNorm(1), nn.BatchNorm2d(1, track_running_stats=False)))


@pytest.mark.parametrize(
    "body",
    [
        "def get_extra_state(self): return {'steps': 1}",
        "def __init__(self): super().__init__(); self.layer = nn.LazyLinear(2)",
        "def __init__(self): super().__init__(); self.layer = nn.Linear(2, 2, device='meta')",
    ],
)
def test_a_state_that_a_checkpoint_does_not_hold_is_refused_before_training(body, module):
    name = f"{module(f'class Net(Root):{chr(10)}    {body}')}:Net"
    with trust(name), pytest.raises(InputError, match="no tensor with a shape and values"):
        build_model(name)


@pytest.mark.parametrize("given", ["networks:Net", nn.Linear(1, 1), print, int])
def test_code_is_trusted_as_a_class_alone(given):
    with pytest.raises(InputError, match="give the class itself"):
        load(trust_code=given)
