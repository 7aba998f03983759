"""The optimiser that the GAN's recogniser and the classifier share."""

import copy

import pytest
import torch
from torch import nn

from synth import learning
from synth.learning import Muon, groups_for_muon, orthogonal


@pytest.mark.parametrize("shape", [(16, 16), (16, 90), (90, 16)])
def test_singular_values_come_near_one_and_directions_stay(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    u, _, vt = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    # over a decade, far from one
    matrix = 37 * u * torch.logspace(0, -1, len(vt)) @ vt
    got = orthogonal(matrix)
    assert got.dtype == matrix.dtype
    # in the basis of the true directions the result is near the diagonal
    inside = u.T @ got @ vt.T
    value = inside.diagonal()
    assert (value > 0.4).all() and (value < 1.35).all()
    assert (inside - value.diag()).abs().max() < 0.1


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.Flatten(1),
        nn.LazyLinear(4),
    )  # fmt: skip


def stepped(net: nn.Module, optimiser: torch.optim.Optimizer, steps: int) -> list[float]:
    generator = torch.Generator().manual_seed(5)
    losses = []
    for _ in range(steps):
        x = torch.randn(32, 1, 8, 8, generator=generator)
        target = (x[:, 0, :4].mean((1, 2)) > x[:, 0, 4:].mean((1, 2))).long()
        loss = nn.functional.cross_entropy(net(x), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def ready() -> tuple[nn.Module, Muon]:
    net = network()
    net(torch.zeros(2, 1, 8, 8))
    return net, Muon(groups_for_muon(net.parameters(), 3e-3, 0.02, 0.05, 0.01), lr=3e-3)


def test_only_hidden_convolutions_are_turned() -> None:
    net, optimiser = ready()
    turned = [p for g in optimiser.param_groups if g.get("orthogonal") for p in g["params"]]
    assert [tuple(p.shape) for p in turned] == [(6, 8, 3, 3)]
    every = [p for g in optimiser.param_groups for p in g["params"]]
    assert {id(p) for p in every} == {id(p) for p in net.parameters()}
    assert len(every) == len(list(net.parameters()))


def test_an_update_is_orthogonal_and_as_long_as_the_rate_says() -> None:
    net, optimiser = ready()
    weight = next(p for p in net.parameters() if p.shape == (6, 8, 3, 3))
    before = weight.detach().clone()
    stepped(net, optimiser, 1)
    update = (before * (1 - 0.02 * 0.01) - weight.detach()).reshape(6, -1) / 0.02
    singular = torch.linalg.svdvals(update)
    assert (singular > 0.4).all() and (singular < 1.35).all()


def test_the_other_parameters_go_by_adamw() -> None:
    """With the hidden convolution out of it, the rest moves as torch's AdamW moves it."""
    net, optimiser = ready()
    twin = copy.deepcopy(net)
    for module in (net, twin):
        next(p for p in module.parameters() if p.shape == (6, 8, 3, 3)).requires_grad_(False)
    weights = [p for p in twin.parameters() if p.ndim > 1 and p.requires_grad]
    plain = [p for p in twin.parameters() if p.ndim == 1]
    reference = torch.optim.AdamW(
        [{"params": weights, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
        lr=3e-3,
    )
    assert stepped(net, optimiser, 5) == stepped(twin, reference, 5)


def test_it_learns_and_a_saved_state_goes_on_the_same() -> None:
    net, optimiser = ready()
    losses = stepped(net, optimiser, 60)
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    copied, other = ready()
    copied.load_state_dict(net.state_dict())
    other.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    assert stepped(net, optimiser, 3) == stepped(copied, other, 3)


@pytest.mark.parametrize("shape", [(16, 16), (16, 90), (24, 60)])
def test_iterating_on_the_gram_matrix_gives_what_iterating_on_the_matrix_gives(
    shape: tuple[int, int],
) -> None:
    torch.manual_seed(0)
    # singular values over four decades, as a gradient has them
    matrix = torch.randn(shape) * torch.logspace(0, -4, shape[1])
    wanted = learning._newton_schulz(matrix.double()).float()
    torch.testing.assert_close(learning._newton_schulz_by_gram(matrix), wanted, atol=2e-3, rtol=0)


@pytest.mark.parametrize("computes", [True, False])
def test_products_are_in_bfloat16_only_where_the_machine_computes_in_it(
    computes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "gains_by_bfloat16", lambda: computes)
    torch.manual_seed(0)
    seen: set[torch.dtype] = set()

    class Note(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function is torch.ops.aten.mm.default:
                seen.add(args[0].dtype)
            return function(*args, **(kwargs or {}))

    with Note():
        for shape in [(16, 16), (16, 90), (90, 16)]:
            orthogonal(torch.randn(shape))
    assert seen == {torch.bfloat16 if computes else torch.float32}
