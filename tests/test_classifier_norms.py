"""Batch norms that keep real and synthetic images apart, against torch's own on each part."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from classifier.networks import Compact, WeightedPooling, build_network
from classifier.norms import (
    STEADY_IMAGES,
    compile_split,
    measure_norms,
    split_norms,
    steady_rows,
)
from synth.canvas import to_float


def test_each_part_is_normalised_as_if_it_were_alone():
    torch.manual_seed(0)
    whole = nn.Sequential(nn.BatchNorm2d(5))
    nn.init.uniform_(whole[0].weight, 0.5, 2)
    nn.init.normal_(whole[0].bias)
    alone = [nn.BatchNorm2d(5) for _ in range(2)]
    for norm in alone:
        norm.load_state_dict(whole[0].state_dict())
    parts = split_norms(whole)
    x = torch.cat([torch.randn(12, 5, 6, 6), 3 * torch.randn(20, 5, 6, 6) + 7])
    x.requires_grad_()
    with parts.of(12):
        found = whole(x)
    wanted = torch.cat([alone[0](x[:12]), alone[1](x[12:])])
    torch.testing.assert_close(found, wanted)
    weights = torch.randn_like(found)
    [grad] = torch.autograd.grad((found * weights).sum(), x)
    [reference] = torch.autograd.grad((wanted * weights).sum(), x)
    torch.testing.assert_close(grad, reference)
    for name, value in alone[0].named_buffers():  # what is kept is the first part's
        torch.testing.assert_close(whole[0].get_buffer(name), value)


@pytest.mark.parametrize("first", [None, 0, 5, 27, 32])
def test_a_batch_that_is_all_of_one_kind_is_normalised_whole(first):
    torch.manual_seed(0)
    network, plain = nn.Sequential(nn.BatchNorm2d(3)), nn.BatchNorm2d(3)
    parts = split_norms(network)
    x = torch.randn(32, 3, 4, 4)
    if first is None:
        found = network(x)
    else:
        with parts.of(first):
            found = network(x)
    torch.testing.assert_close(found, plain(x))
    assert parts.first is None


def test_evaluation_and_state_are_those_of_the_plain_network():
    torch.manual_seed(0)
    plain, split = build_network("compact", 7).eval(), build_network("compact", 7).eval()
    parts = split_norms(split)
    assert split.state_dict().keys() == plain.state_dict().keys()
    split.load_state_dict(plain.state_dict())
    x = torch.randn(20, 1, 64, 64)
    with parts.of(10):
        torch.testing.assert_close(split(x), plain(x))


def test_measured_statistics_are_those_of_the_images_as_they_are_read():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    images = np.random.default_rng(0).integers(0, 256, (300, 16, 16), dtype=np.uint8)
    with torch.no_grad():
        network[1].running_mean.fill_(9)
        seen = network[0](torch.from_numpy(to_float(images))[:, None])
    measure_norms(network, images, batch_size=60)
    assert not network.training
    torch.testing.assert_close(network[1].running_mean, seen.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    # the mean of the batches' own variances
    var = torch.stack([part.var((0, 2, 3)) for part in seen.split(60)]).mean(0)
    torch.testing.assert_close(network[1].running_var, var, rtol=1e-4, atol=1e-5)
    before = network[1].running_mean.clone()
    measure_norms(network, images, batch_size=60)  # the same again
    assert torch.equal(network[1].running_mean, before)


def test_nothing_but_the_norms_is_in_training_while_they_are_measured():
    """EfficientNet drops whole blocks by chance in training: its statistics would be of such."""
    torch.manual_seed(0)
    network = build_network("efficientnet-b0", 5).train()
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32), dtype=np.uint8)
    modes = []
    network._dropout.register_forward_hook(lambda module, *_: modes.append(module.training))
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        measure_norms(network, images, batch_size=20)
        assert torch.equal(torch.random.get_rng_state(), before)  # nothing was left to chance
        found.append({k: v.clone() for k, v in network.state_dict().items() if "running" in k})
    assert modes == [False] * 4 and not any(m.training for m in network.modules())
    assert all(torch.equal(found[0][k], v) for k, v in found[1].items())
    assert {m.momentum for m in network.modules() if isinstance(m, nn.BatchNorm2d)} != {None}


def test_the_compact_network_has_the_statistics_that_torch_gives_it():
    """To the last bit: what it has by chance, its dropout, comes after all of its norms."""
    torch.manual_seed(0)
    ours = build_network("compact", 5)
    theirs = copy.deepcopy(ours)
    images = np.random.default_rng(0).integers(0, 256, (40, 64, 64), dtype=np.uint8)
    measure_norms(ours, images, batch_size=20)
    parts = torch.from_numpy(to_float(images))[:, None].split(20)
    update_bn([x.contiguous(memory_format=torch.channels_last) for x in parts], theirs)
    for name, value in theirs.named_buffers():
        assert torch.equal(ours.get_buffer(name), value), name


def test_steady_images_are_a_sample_without_repeats():
    rows = np.arange(100, 100 + 2 * STEADY_IMAGES)
    drawn = steady_rows(rows, 3)
    assert len(set(drawn.tolist())) == STEADY_IMAGES and set(drawn) <= set(rows)
    assert (steady_rows(rows, 3) == drawn).all() and (steady_rows(rows, 4) != drawn).any()
    assert sorted(steady_rows(rows[:50], 3)) == rows[:50].tolist()


def test_pooling_starts_as_the_mean_and_takes_any_canvas():
    torch.manual_seed(0)
    pool = WeightedPooling(6, 4)
    x = torch.randn(3, 6, 4, 4)
    torch.testing.assert_close(pool(x), x.mean((2, 3)))
    with torch.no_grad():
        pool.weight.zero_()[2, 1, 3] = 1
    assert torch.equal(pool(x)[:, 2], x[:, 2, 1, 3]) and pool(x)[:, :2].abs().max() == 0
    for size in (32, 48, 96):
        assert Compact(5)(torch.randn(2, 1, size, size)).shape == (2, 5)


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore:The .grad attribute of a Tensor:UserWarning",  # dynamo of torch 2.9, of its own doing
)
def test_a_compiled_network_takes_any_number_of_real_images():
    """It is another one in every batch: compiled for each it would soon not be compiled at all."""
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3))
    parts = split_norms(network)
    plain = copy.deepcopy(network)
    twin = plain[1].parts
    counter = CompileCounter()
    compile_split(network, backend=counter)
    x = torch.randn(64, 1, 8, 8)
    for first in range(20, 45):
        with parts.of(first), twin.of(first):
            torch.testing.assert_close(network(x), plain(x))
    # one for each of the first ones that are taken as they are, and one for all others
    assert counter.frame_count <= 3
    with parts.of(3):  # too few for a part
        network(x)
    assert counter.frame_count <= 4
