"""Blocks by depth, replaced layers, pretrained weights, and networks of the libraries."""

import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from classifier.layers import blocks, replace_layers
from classifier.networks import build_network, require_model, timm_name
from classifier.pretrained import start_from
from synth.errors import InputError


class Halved(nn.Module):
    """A user's layer: what the old one gives, halved."""

    def __init__(self, old: nn.Module) -> None:
        super().__init__()
        self.old = old

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.old(x) / 2


class Broken(nn.Module):
    def __init__(self, old: nn.Module, more: int) -> None:
        super().__init__()


def no_layer(old: nn.Module) -> str:
    return "x"


@pytest.fixture(autouse=True)
def mine(monkeypatch):
    """This file as a module that a user would name."""
    monkeypatch.setitem(sys.modules, "mine", sys.modules[__name__])


@pytest.mark.parametrize("name", ["compact", "resnet18", "efficientnet-b0"])
def test_blocks_hold_every_parameter_once_and_end_with_the_head(name):
    network = build_network(name, 7)
    found = [p for block in blocks(network) for p in block]
    assert len(found) == len({id(p) for p in found}) == len(list(network.parameters()))
    assert {id(p) for p in found} == {id(p) for p in network.parameters()}
    assert [tuple(p.shape) for p in blocks(network)[-1]] == [(7, found[-2].shape[1]), (7,)]
    assert all(any(p.ndim > 1 for p in block) for block in blocks(network))  # no norm of its own


def test_blocks_of_the_compact_network_go_with_its_depth():
    network = build_network("compact", 7)
    ids = [{id(p) for p in block} for block in blocks(network)]
    wanted = [network.stem, *network.body, network.pool, network.head]
    assert ids == [{id(p) for p in part.parameters()} for part in wanted]


def test_a_layer_is_replaced_by_a_users_own():
    network = build_network("compact", 7).eval()
    x = torch.randn(2, 1, 64, 64)
    before = network(x)
    replace_layers(network, ["head=mine:Halved"])
    assert torch.allclose(network(x), before / 2)
    replace_layers(network, ["body.*.gate=mine:Halved"])
    assert sum(isinstance(m, Halved) for m in network.modules()) == 5
    # a pattern that also fits what is inside replaces the whole
    replace_layers(network, ["body*=mine:Halved"])
    assert isinstance(network.body, Halved) and not isinstance(network.body.old[0], Halved)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("head", "pattern=module:Class"),
        ("head=mine", "module:Class"),
        ("nothing=mine:Halved", "no layer has such a name; there are stem"),
        ("head=nowhere:Halved", "no module 'nowhere'"),
        ("head=mine:Nothing", "has no 'Nothing'"),
        ("head=mine:Broken", "head: TypeError"),
        ("head=mine:no_layer", "made str"),
    ],
)
def test_what_cannot_replace_a_layer_is_told(text, says):
    with pytest.raises(InputError, match=says):
        replace_layers(build_network("compact", 7), [text])


def test_a_file_of_weights_made_on_the_spot(tmp_path):
    """A colour network's body is taken with its first layer summed, its head is not."""
    torch.manual_seed(0)
    colour = build_network("resnet18", 1000)
    colour.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
    save_file(colour.state_dict(), tmp_path / "w.safetensors")
    torch.save({"state_dict": colour.state_dict()}, tmp_path / "w.pth")
    x = torch.randn(2, 1, 64, 64)
    for name in ("w.safetensors", "w.pth"):
        network = build_network("resnet18", 7)
        head = network.fc.weight.clone()
        taken, fresh = start_from(network, "resnet18", str(tmp_path / name))
        assert fresh == ["fc.bias", "fc.weight"] and taken == len(colour.state_dict()) - 2
        assert torch.equal(network.fc.weight, head)
        # gray answers as the colour network did to three equal channels
        ours, theirs = nn.Sequential(*list(network.children())[:-1]), None
        theirs = nn.Sequential(*list(colour.children())[:-1])
        a, b = ours.eval()(x), theirs.eval()(x.expand(-1, 3, -1, -1))
        assert torch.allclose(a, b, atol=1e-4)


def test_library_weights_come_from_the_librarys_own_place(tmp_path, monkeypatch):
    """A file where torch keeps downloads stands for the download."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    from efficientnet_pytorch.utils import url_map

    torch.manual_seed(0)
    given = build_network("efficientnet-b0", 1000)
    given._conv_stem.weight = nn.Parameter(torch.randn(32, 3, 3, 3))
    path = tmp_path / "hub" / "checkpoints" / url_map["efficientnet-b0"].rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save(given.state_dict(), path)
    network = build_network("efficientnet-b0", 7)
    _, fresh = start_from(network, "efficientnet-b0", "library")
    assert fresh == ["_fc.bias", "_fc.weight"]
    assert torch.allclose(network._conv_stem.weight, given._conv_stem.weight.sum(1, keepdim=True))
    assert torch.equal(network._conv_head.weight, given._conv_head.weight)


def test_weights_that_are_not_there_end_in_one_line(tmp_path, monkeypatch):
    network = build_network("resnet18", 7)
    (tmp_path / "text.pth").write_text("no weights")
    save_file({"other": torch.zeros(3)}, tmp_path / "other.safetensors")
    torch.save([1, 2], tmp_path / "list.pth")
    for source, says in (
        (tmp_path / "none.pth", "no file"),
        (tmp_path, "no file"),
        (tmp_path / "text.pth", "no weights can be read"),
        (tmp_path / "list.pth", "not a table"),
        (tmp_path / "other.safetensors", "0 of 62 tensors of resnet18 are in it"),
    ):
        with pytest.raises(InputError, match=says):
            start_from(network, "resnet18", str(source))
    with pytest.raises(InputError, match="compact"):
        start_from(build_network("compact", 7), "compact", "library")

    def unreachable(*_, **__):
        raise OSError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    with pytest.raises(InputError, match=r"cannot be fetched \(OSError: no route\)"):
        start_from(network, "resnet18", "library")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_networks_of_timm_read_small_gray_images():
    assert timm_name("resnet18") is None  # torchvision's
    assert timm_name("timm/resnet18") == "resnet18" and timm_name("nothing") is None
    for name in ("convnext_atto", "timm/resnet10t", "vit_tiny_patch16_224"):
        network = build_network(name, 7).eval()
        assert network(torch.randn(2, 1, 64, 64)).shape == (2, 7)
        assert blocks(network)[-1][-1].shape == (7,)
    with pytest.raises(InputError, match="every network of timm"):
        require_model("no_such_network")
