"""What others would use for training batches, and what a contest entry of 2021 used. No benchmark
by itself.

Every one gives float32 [B, 1, H, W] in -1..1 as a torch tensor, but `take`, which fills a ready
uint8 buffer, and `dali_by_image`, whose batches stay DALI's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from readers import DALI_AHEAD, LOADERS, SIZE_PX, dali_files
from timing import Contender

Images = Any  # [N, H, W] uint8


def forever(make: Callable[[], Any]) -> Iterator[Any]:
    while True:
        yield from make()


def random_rows(count: int, batch_size: int) -> Iterator[Any]:
    import numpy as np

    rng = np.random.default_rng(1)
    return forever(lambda: [rng.integers(0, count, batch_size)])


def take(images: Images, batch_size: int) -> Iterator[Any]:
    import numpy as np

    out = np.empty((batch_size, *images.shape[1:]), np.uint8)
    for rows in random_rows(len(images), batch_size):
        yield np.take(images, rows, 0, out, "clip")


def take_float(images: Images, batch_size: int) -> Iterator[Any]:
    import numpy as np

    for rows in random_rows(len(images), batch_size):
        yield as_tensor(np.take(images, rows, 0))


def as_tensor(images: Images) -> Any:
    import torch

    from synth.canvas import to_float

    return torch.from_numpy(to_float(images))[:, None]


def dali_by_image(images: Images, batch_size: int, threads: int) -> Iterator[Any]:
    """DALI's usual graph, an image a sample, on one batch that is always the same."""
    import numpy as np
    from nvidia.dali import fn, pipeline_def, types

    from classifier.pipeline import OWN_MEMORY, PREFETCH
    from synth.canvas import MEAN, STD

    fed = np.ascontiguousarray(images[:batch_size, ..., None])

    @pipeline_def(
        batch_size=batch_size,
        num_threads=threads,
        device_id=None,
        prefetch_queue_depth=PREFETCH,
        **OWN_MEMORY,
    )
    def graph() -> Any:
        image = fn.external_source(lambda: fed, batch=True, layout="HWC")
        return fn.crop_mirror_normalize(image, mean=MEAN, std=STD, dtype=types.FLOAT)

    pipeline = graph()
    pipeline.build()
    return forever(pipeline.run)


# ---- 2021: one image after the other, decoded each time ----

OF_2021 = ("raw files, Pillow", "HDF5", "LMDB", "raw files, DALI")


def of_2021(store: Any, folder: Path, batch_size: int, threads: int, count: int) -> dict:
    """The loaders of a 2021 contest entry, on the images of a store, by name."""
    from synth.export import FORMATS, export_store

    folder.mkdir()
    for form in ("hdf5", "lmdb"):
        export_store(store, form, folder / f"{form}{FORMATS[form]}")
    export_store(store, "flat", folder / "raw")
    order = next(random_rows(len(store), len(store))).tolist()
    found = {}
    for name in OF_2021:
        if name in LOADERS:
            found[name] = Contender(
                _read(LOADERS[name](folder, ExitStack()), len(store), batch_size), count
            )
        else:
            batches = dali_files(folder, order, batch_size, threads)
            found[name] = Contender(map(as_tensor, batches), count, DALI_AHEAD)
    return found


def _read(one: Callable[[Any], Images], images: int, batch_size: int) -> Iterator[Any]:
    for rows in random_rows(images, batch_size):
        yield as_tensor(one(rows))


# ---- torch's DataLoader ----


class Samples:
    """A data set in torch's way: one image at a time."""

    def __init__(self, images: Images, transform: Callable[[Any], Any]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Any:
        return self.transform(self.images[row])


def loader(
    images: Images, batch_size: int, transform: Callable[[Any], Any], workers: int
) -> Iterator[Any]:
    import torch

    made = torch.utils.data.DataLoader(
        Samples(images, transform),
        batch_size=batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        drop_last=True,
        generator=torch.Generator().manual_seed(1),
    )
    return forever(lambda: made)


def plain(augment: Any) -> Callable[[Any], Any]:
    """The leanest there is: the codec, nothing else."""
    import torch

    from synth.canvas import to_float

    return lambda image: torch.from_numpy(to_float(image))[None]


def to_tensor(augment: Any) -> Callable[[Any], Any]:
    """What tutorials do."""
    import torch
    from torchvision.transforms import v2

    steps = v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])]
    )
    return lambda image: steps(image[..., None])


def torchvision_v2(augment: Any) -> Callable[[Any], Any]:
    import math

    import torch
    from torchvision.transforms import v2

    def noise(image: torch.Tensor) -> torch.Tensor:
        sigma = augment.noise_sigma * float(torch.rand(()))
        return image + sigma * torch.randn(image.shape)

    area = (16 / SIZE_PX**2, augment.erase_px**2 / SIZE_PX**2)
    steps = v2.Compose(
        [
            v2.RandomAffine(
                augment.rotation_deg,
                (augment.translate_px / SIZE_PX,) * 2,
                (math.exp(-augment.scale), math.exp(augment.scale)),
                augment.shear_deg,
                v2.InterpolationMode.BILINEAR,
            ),
            v2.RandomApply(
                [v2.GaussianBlur(5, (0.3, augment.blur_sigma_px))], augment.blur_probability
            ),
            v2.ColorJitter(
                brightness=(1 - augment.fade, 1.0), contrast=(1.0, 1 + augment.contrast)
            ),
            v2.ToDtype(torch.float32),
            v2.RandomApply([v2.Lambda(noise)], augment.noise_probability),
            v2.RandomErasing(augment.erase_probability, area, (0.5, 2.0)),
        ]
    )
    return lambda image: steps(torch.from_numpy(image)[None]).clamp(0, 255) / 127.5 - 1


def albumentations_steps(augment: Any) -> Callable[[Any], Any]:
    import math

    import albumentations as A

    side = (4, int(augment.erase_px))
    steps = A.Compose(
        [
            A.Affine(
                rotate=(-augment.rotation_deg, augment.rotation_deg),
                scale=(math.exp(-augment.scale), math.exp(augment.scale)),
                shear=(-augment.shear_deg, augment.shear_deg),
                translate_px=(-int(augment.translate_px), int(augment.translate_px)),
                p=1.0,
            ),
            A.GaussianBlur(5, (0.3, augment.blur_sigma_px), p=augment.blur_probability),
            A.RandomBrightnessContrast(
                (-augment.fade, 0.0), (0.0, augment.contrast), ensure_safe_range=False, p=1.0
            ),
            A.GaussNoise((0.0, augment.noise_sigma / 255), p=augment.noise_probability),
            A.CoarseDropout((1, 1), side, side, p=augment.erase_probability),
        ]
    )
    codec = plain(augment)
    return lambda image: codec(steps(image=image[..., None])["image"][..., 0])


TRANSFORMS = {
    "DataLoader, codec": plain,
    "DataLoader, ToTensor": to_tensor,
    "torchvision v2": torchvision_v2,
    "albumentations": albumentations_steps,
}
