"""KID, precision and recall against their formulas; and what they say about known changes."""

import numpy as np
import pytest
import torch
from interrupting import Evil
from scipy.spatial.distance import cdist

from gan.fidelity import NEIGHBOURS, fidelity, inception_fidelity, register
from gan.networks import Recogniser
from gan.reader import Reader
from synth.errors import InputError


def pictures(count: int, seed: int, slope: float = 1.0) -> np.ndarray:
    """[n, 32, 32] uint8: bars whose place and length vary; `slope` narrows how much."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, 32, 32), np.uint8)
    for image in images:
        row, length = 12 + slope * rng.normal(0, 4), 14 + slope * rng.normal(0, 4)
        row, length = int(np.clip(row, 2, 26)), int(np.clip(length, 3, 24))
        image[row : row + 3, 4 : 4 + length] = rng.integers(150, 256)
    return images


@pytest.fixture(scope="module")
def network() -> Recogniser:
    torch.manual_seed(0)
    return Recogniser(3).eval()


def test_the_figures_are_their_formulas(network):
    made, real = pictures(60, 1), pictures(60, 2)
    found = fidelity(made, real, register(network))
    reader = Reader(network, ("a", "b", "c"), torch.device("cpu"))
    x, y = (reader.features(i).astype(np.float64) for i in (made, real))
    # Kynkaanniemi et al. 2019, eq. 1 and 2
    radius = [np.sort(cdist(f, f), 1)[:, NEIGHBOURS] for f in (x, y)]
    away = cdist(x, y)
    assert found.precision == pytest.approx((away <= radius[1][None]).any(1).mean(), abs=0.02)
    assert found.recall == pytest.approx((away <= radius[0][:, None]).any(0).mean(), abs=0.02)

    def kernel(a, b):  # Binkowski et al. 2018, sec. 4
        return (a @ b.T / a.shape[1] + 1) ** 3

    n = len(x)
    within = sum((k.sum() - np.trace(k)) / (n * (n - 1)) for k in (kernel(x, x), kernel(y, y)))
    kid = within - 2 * kernel(x, y).mean()
    # the mean over subsets of half the images is the whole's, up to chance
    assert abs(found.kid - kid) < 4 * found.kid_std / np.sqrt(50) + 0.2 * found.kid_std
    assert found.images == 60 and found.kid_std > 0


def test_less_variety_costs_recall_and_another_look_costs_kid(network):
    extractor, real = register(network), pictures(150, 2)
    same = fidelity(pictures(150, 1), real, extractor)
    narrow = fidelity(pictures(150, 1, slope=0.15), real, extractor)
    other = fidelity(255 - pictures(150, 1), real, extractor)
    assert narrow.recall < 0.6 * same.recall and narrow.precision > 0.8 * same.precision
    assert other.kid > narrow.kid > same.kid and other.recall == other.precision == 0
    assert fidelity(pictures(150, 1), real, extractor) == same


def test_each_network_has_its_own_features(network):
    torch.manual_seed(1)
    names = [register(network), register(Recogniser(3).eval()), register(network)]
    assert len(set(names)) == 3
    made, real = pictures(40, 1), pictures(40, 3)
    first, second, again = (fidelity(made, real, name) for name in names)
    assert first == again != second


def test_too_few_images(network):
    with pytest.raises(InputError, match="are the least"):
        fidelity(pictures(4, 1), pictures(40, 2), register(network))


def test_inception_weights_that_cannot_be_had(tmp_path):
    images = pictures(6, 1)
    with pytest.raises(InputError, match=r"no such file.*weights-inception-2015"):
        inception_fidelity(images, images, tmp_path / "none.pth")
    torch.save({"conv.weight": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="no Inception weights in it"):
        inception_fidelity(images, images, tmp_path / "other.pth")
    mark = tmp_path / "it ran"
    torch.save({"Mixed_7c.branch1x1.conv.weight": Evil(mark)}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match="Weights only load failed"):
        inception_fidelity(images, images, tmp_path / "evil.pth")
    assert not mark.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)  # it would have
    assert mark.exists()


def test_inception_is_asked_for_what_it_reads(tmp_path, monkeypatch):
    """Its weights cannot be had here: what torch-fidelity is called with is what can be tested."""
    weights, asked = tmp_path / "weights.pth", {}
    torch.save({"Mixed_7c.branch1x1.conv.weight": torch.zeros(1)}, weights)
    figures = {"kernel_inception_distance_mean": 0.1, "kernel_inception_distance_std": 0.2}

    def calculate(**given):
        asked.update(given)
        return figures | {"precision": 0.3, "recall": 0.4}

    monkeypatch.setattr("gan.fidelity.calculate_metrics", calculate)
    made, real = pictures(20, 1), pictures(30, 2)
    found = inception_fidelity(made, real, weights, seed=7)
    assert (found.kid, found.kid_std, found.precision, found.recall) == (0.1, 0.2, 0.3, 0.4)
    assert found.images == 20 and asked["rng_seed"] == 7 and not asked["cache"]
    assert asked["feature_extractor"] == "inception-v3-compat"
    assert asked["feature_extractor_weights_path"] == str(weights)
    for given, images in ((asked["input1"], made), (asked["input2"], real)):
        assert len(given) == len(images)
        assert given[3].shape == (3, 32, 32) and given[3].dtype == torch.uint8
        assert all((channel == torch.from_numpy(images[3])).all() for channel in given[3])
