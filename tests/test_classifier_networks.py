"""Every network by name, for gray images."""

import pytest
import torch

from classifier.networks import MODELS, build_network
from synth.errors import InputError

LARGE = [f"efficientnet-b{i}" for i in range(3, 8)]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in MODELS],
)
def test_gray_images_in_logits_out(name):
    network = build_network(name, 11).eval()
    with torch.no_grad():
        logits = network(torch.randn(2, 1, 64, 64))
    assert logits.shape == (2, 11) and logits.isfinite().all()


def test_the_default_is_small_and_takes_other_sizes():
    network = build_network("compact", 100).eval()
    assert sum(p.numel() for p in network.parameters()) < 1.5e6
    with torch.no_grad():
        for size in (32, 48, 96):
            assert network(torch.randn(1, 1, size, size)).shape == (1, 100)
        x = torch.randn(3, 1, 64, 64)
        assert torch.allclose(network.head(network.features(x)), network(x), atol=1e-5)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match="efficientnet-b7"):
        build_network("vgg", 3)
    assert len(MODELS) == 11
