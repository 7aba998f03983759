"""KID, precision and recall by torch-fidelity, on features of a recogniser of characters.

A glyph is no photograph, and the Inception network has never seen one: distances are taken in the
penultimate features of a recogniser that was trained on this data. What comes out must not be
compared with published figures of Inception features, and is no FID.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity import FeatureExtractorBase, calculate_metrics, register_feature_extractor

from gan.networks import Recogniser
from synth.canvas import MEAN, STD
from synth.errors import InputError

NEIGHBOURS = 3  # Kynkaanniemi et al. 2019, "Improved precision and recall metric", sec. 3.1
LEAST_IMAGES = NEIGHBOURS + 2  # that can be compared
SUBSETS, SUBSET_IMAGES = 50, 1000  # of the KID's estimate; Binkowski et al. 2018, sec. 4
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
_LAYER = "penultimate"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Fidelity:
    """How near one set of images is to another one."""

    kid: float  # squared MMD with a cubic kernel, unbiased: may be a little below 0
    kid_std: float  # over the subsets
    precision: float  # share of the first set within the second one's neighbourhoods
    recall: float  # share of the second set within the first one's
    images: int  # of each set


class Grays(Dataset):
    """[n, H, W] uint8 -> a dataset of [channels, H, W] uint8 tensors."""

    def __init__(self, images: np.ndarray, channels: int = 1) -> None:
        self.images, self.channels = images, channels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        image = torch.from_numpy(np.ascontiguousarray(self.images[index]))[None]
        return image.expand(self.channels, -1, -1)


def register(recogniser: Recogniser) -> str:
    """Makes a recogniser's features known to torch-fidelity. Returns the name to ask for them by.

    The registry is keyed by name for the life of the process, so each network gets its own.
    """

    class Features(FeatureExtractorBase):
        def __init__(self, name: str, features_list: list[str], **_: object) -> None:
            super().__init__(name, features_list)
            self.network = recogniser

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return (_LAYER,)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return _LAYER

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:  # [B, 1, H, W] uint8
            return (self.network.features((images.float() - MEAN) / STD),)

    name = f"recogniser-{next(_numbers)}"
    register_feature_extractor(name, Features)
    return name


def fidelity(
    made: np.ndarray,  # [n, H, W] uint8
    real: np.ndarray,  # [m, H, W] uint8
    extractor: str,  # what `register` returned
    seed: int = 1,
) -> Fidelity:
    """Raises InputError for fewer images than the neighbourhoods need."""
    return _measured(Grays(made), Grays(real), seed, feature_extractor=extractor)


def inception_fidelity(
    made: np.ndarray,  # [n, H, W] uint8
    real: np.ndarray,  # [m, H, W] uint8
    weights: Path,  # torch-fidelity's file INCEPTION_FILE
    seed: int = 1,
) -> Fidelity:
    """The same with Inception's features, for who has its weights."""
    require_inception(weights)
    return _measured(
        Grays(made, 3),
        Grays(real, 3),
        seed,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(weights),
    )


def require_inception(weights: Path) -> None:
    """Raises InputError where the file is not there or holds no plain Inception weights."""
    wanted = f"--inception wants {INCEPTION_FILE}, from torch-fidelity's release v0.2.0"
    if not weights.is_file():
        raise InputError(f"{weights}: no such file; {wanted}")
    try:  # before torch-fidelity loads it in a way that would run code from it
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a wrong file makes of the unpickler
        raise InputError(f"{weights}: {str(error).splitlines()[0][:100]}; {wanted}") from None
    if not isinstance(state, dict) or "Mixed_7c.branch1x1.conv.weight" not in state:
        raise InputError(f"{weights}: no Inception weights in it; {wanted}")


def _measured(made: Grays, real: Grays, seed: int, **extractor: str) -> Fidelity:
    least = min(len(made), len(real))
    if least < LEAST_IMAGES:
        raise InputError(f"{least} images to compare: {LEAST_IMAGES} are the least")
    found = calculate_metrics(
        input1=made,
        input2=real,
        cuda=torch.cuda.is_available(),
        batch_size=256,
        kid=True,
        # a subset of all images would be the same one every time, without a spread
        kid_subset_size=min(SUBSET_IMAGES, max(2, least // 2)),
        kid_subsets=SUBSETS,
        prc=True,
        prc_neighborhood=NEIGHBOURS,
        cache=False,  # it is keyed by name and loads pickles
        save_cpu_ram=True,  # no worker processes for images that are in memory
        rng_seed=seed,
        verbose=False,
        **extractor,
    )
    return Fidelity(
        found["kernel_inception_distance_mean"],
        found["kernel_inception_distance_std"],
        found["precision"],
        found["recall"],
        least,
    )
