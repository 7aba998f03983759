"""How fast training batches come, against what others would use, in one run.

    python benchmarks/mix.py                # simulated stores of 64x64
    python benchmarks/mix.py --rounds 9

Every contender gives the same: a batch of float32 [B, 1, 64, 64] in -1..1 as a torch tensor, but
`numpy.take`, which fills a ready uint8 buffer. They run in turn; the ratio is the median over the
rounds. A/A is our loader against itself: where it is not within 5 %, the machine is not quiet
and the ratios are worth nothing. The limits are those that the project set itself.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from timing import Contender, Rates, interleaved, machine

from synth.command import parser, run

SIZE_PX, CHARS = 64, "永國銀三火水木金土日"
PACKAGES = (
    *("torch", "torchvision", "nvidia-dali-cuda130", "albumentations", "opencv-python-headless"),
    *("numpy", "pillow", "pytorch-lightning"),
)


def options() -> ArgumentParser:
    p = parser(__doc__ or "", "python benchmarks/mix.py --rounds 5")
    p.add_argument("--rounds", type=int, default=5, help="times that all run in turn")
    p.add_argument("--batches", type=int, default=20, help="batches of each contender in a round")
    p.add_argument("--batch-size", type=int, default=256, help="images")
    p.add_argument("--threads", type=int, default=2, help="of DALI, and workers of the DataLoader")
    p.add_argument("--images", type=int, default=20_000, help="of each of the three sources")
    return p


def make_store(folder: Path, source: str, count: int) -> Any:
    """Blobs of ink: what an image shows does not matter here."""
    import numpy as np
    from scipy import ndimage

    from synth.alphabet import Alphabet
    from synth.canvas import Canvas
    from synth.store import SOURCES, Sample, Store, StoreWriter

    rng = np.random.default_rng(SOURCES.index(source))
    smooth = ndimage.gaussian_filter(rng.normal(size=(64, SIZE_PX, SIZE_PX)), (0, 2, 2))
    some = np.clip(smooth * 2500, 0, 255).astype(np.uint8)
    with StoreWriter(folder / source, Canvas(SIZE_PX), Alphabet.of(CHARS), {}) as writer:
        for first in range(0, count, 1000):
            n = min(1000, count - first)
            labels = [CHARS[i % len(CHARS)] for i in range(n)]
            writer.append(
                some[rng.integers(0, len(some), n)], [Sample(c, c, source) for c in labels]
            )
    return Store.open(folder / source)


def forever(make: Callable[[], Any]) -> Iterator[Any]:
    while True:
        yield from make()


def main(args: Namespace) -> None:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    print(machine(PACKAGES))
    print(
        f"batch {args.batch_size}, {SIZE_PX}x{SIZE_PX}, {args.threads} threads or workers, "
        f"{args.rounds} rounds of {args.batches} batches"
    )
    with tempfile.TemporaryDirectory() as folder:
        stores = [make_store(Path(folder), s, args.images) for s in ("real", "font", "gan")]
        _show(interleaved(_contenders(args, stores, Path(folder)), args.rounds))
        _wait(args, stores)


def _contenders(args: Namespace, stores: list[Any], folder: Path) -> dict[str, Contender]:
    from classifier.pipeline import PREFETCH, Augment

    augment, none, n = Augment(), Augment.none(), args.batches
    few = max(2, n // 5)
    found = {
        "ours, mix": Contender(ours(args, stores, none), n, PREFETCH + 1),
        "ours, mix (again)": Contender(ours(args, stores, none), n, PREFETCH + 1),
        "ours, one source": Contender(ours(args, stores[:1], none), n, PREFETCH + 1),
        "bare DALI graph": Contender(bare_graph(args, stores, none), n, PREFETCH + 1),
        "numpy.take": Contender(take(args, stores), n),
        "numpy.take, to_float": Contender(take_float(args, stores), n),
        "Pillow, file by file": Contender(files(args, stores[0], folder), few),
        "ours, mix, augmented": Contender(ours(args, stores, augment), n, PREFETCH + 1),
        "bare DALI graph, augmented": Contender(bare_graph(args, stores, augment), n, PREFETCH + 1),
    }
    for name, make in TRANSFORMS.items():
        for workers in (0, args.threads):
            found[f"{name}, {workers} workers"] = Contender(
                loader(args, stores, make(augment), workers),
                n if name.startswith("DataLoader") else few,
                2 * workers + 1 if workers else 0,  # torch's prefetch_factor is 2
            )
    return found


# ---- ours ----


def mix_of(args: Namespace, stores: list[Any]) -> Any:
    from classifier.mixing import Mix, MixSettings, Pool, training_classes

    alphabet = stores[0].alphabet
    names, targets = training_classes(alphabet, stores)
    pools = [Pool.of(store, t) for store, t in zip(stores, targets, strict=True)]
    return Mix.of(
        pools,
        (*alphabet.classes, *names),
        MixSettings(),
        seed=1,
        batch_size=args.batch_size,
        total_steps=10**6,
    )


def ours(args: Namespace, stores: list[Any], augment: Any) -> Iterator[Any]:
    from classifier.loaders import TrainLoader

    loader = TrainLoader(stores, mix_of(args, stores), augment, seed=1, threads=args.threads)
    return (batch["images"] for batch in loader)


def bare_graph(args: Namespace, stores: list[Any], augment: Any) -> Iterator[Any]:
    """The same graph on one batch that is always the same: no mix, no gathering, no drawing."""
    import numpy as np

    from classifier.pipeline import build, draw

    images = np.ascontiguousarray(stores[0].images[: args.batch_size])
    fed = {
        "images": images,
        "tag": np.zeros((len(images), 4), np.int64),
        **draw(augment, 1, 0, len(images), SIZE_PX),
    }
    pipeline = build(lambda _: fed, batch_size=len(images), threads=args.threads, augment=augment)
    return forever(lambda: [pipeline.run()[0]])


# ---- others ----


def random_rows(args: Namespace, count: int) -> Iterator[Any]:
    import numpy as np

    rng = np.random.default_rng(1)
    return forever(lambda: [rng.integers(0, count, args.batch_size)])


def take(args: Namespace, stores: list[Any]) -> Iterator[Any]:
    import numpy as np

    images = np.concatenate([store.images for store in stores])
    out = np.empty((args.batch_size, SIZE_PX, SIZE_PX), np.uint8)
    for rows in random_rows(args, len(images)):
        yield np.take(images, rows, 0, out, "clip")


def take_float(args: Namespace, stores: list[Any]) -> Iterator[Any]:
    import numpy as np
    import torch

    from synth.canvas import to_float

    images = np.concatenate([store.images for store in stores])
    for rows in random_rows(args, len(images)):
        yield torch.from_numpy(to_float(np.take(images, rows, 0)))[:, None]


class Samples:
    """A data set in torch's way: one image at a time."""

    def __init__(self, images: Any, transform: Callable[[Any], Any]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Any:
        return self.transform(self.images[row])


def loader(
    args: Namespace, stores: list[Any], transform: Callable[[Any], Any], workers: int
) -> Iterator[Any]:
    import numpy as np
    import torch

    images = np.concatenate([store.images for store in stores])
    made = torch.utils.data.DataLoader(
        Samples(images, transform),
        batch_size=args.batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        drop_last=True,
        generator=torch.Generator().manual_seed(1),
    )
    return forever(lambda: made)


def files(args: Namespace, store: Any, folder: Path) -> Iterator[Any]:
    """As in 2021: every image a file, opened, decoded and scaled one after the other."""
    import numpy as np
    import torch
    from PIL import Image

    from synth.canvas import to_float
    from synth.decode import encode

    top = folder / "files"
    top.mkdir()
    paths = [top / f"{i}.png" for i in range(2000)]
    for path, image in zip(paths, store.images, strict=False):
        path.write_bytes(encode(image))

    def one(path: Path) -> Any:
        with Image.open(path) as image:
            gray = image.convert("L").resize((SIZE_PX, SIZE_PX))
        return torch.from_numpy(to_float(255 - np.asarray(gray)))[None]

    for rows in random_rows(args, len(paths)):
        yield torch.stack([one(paths[i]) for i in rows])


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


# ---- results ----


def _show(rates: dict[str, Rates]) -> None:
    print(f"\n{'':<32}{'images/s':>12}{'spread':>9}")
    for one in rates.values():
        print(f"{one.name:<32}{one.median:>12,.0f}{one.spread:>9.0%}")

    def best(start: str) -> Rates:
        return max((r for n, r in rates.items() if n.startswith(start)), key=lambda r: r.median)

    unchanged, augmented = rates["ours, mix"], rates["ours, mix, augmented"]
    again = rates["ours, mix (again)"].over(unchanged)
    rows = [
        ("A/A", again, "0.95 to 1.05", 0.95 <= again <= 1.05),
        *_at_least("DataLoader + the codec alone", unchanged, best("DataLoader, codec"), 5),
        *_at_least("DataLoader + v2 normalisation", unchanged, best("DataLoader, ToTensor"), 5),
        *_at_least("numpy.take into a ready buffer", unchanged, rates["numpy.take"], 0.9),
        *_at_least("numpy.take and to_float", unchanged, rates["numpy.take, to_float"], 0.9),
        *_at_least("bare DALI graph", unchanged, rates["bare DALI graph"], 0.85),
        *_at_least("one source", unchanged, rates["ours, one source"], 0.9),
        *_at_least("files one by one, as in 2021", unchanged, rates["Pillow, file by file"], 50),
        *_at_least("DataLoader + torchvision v2", augmented, best("torchvision v2"), 2),
        *_at_least("DataLoader + albumentations", augmented, best("albumentations"), 2),
        *_at_least("bare DALI graph", augmented, rates["bare DALI graph, augmented"], 0.85),
    ]
    print(f"\n{'ours against':<40}{'ratio':>8}  {'limit':<14}")
    for name, ratio, limit, good in rows:
        print(f"{name:<40}{ratio:>8.2f}  {limit:<14}{'' if good else 'MISSED'}")


def _at_least(name: str, mine: Rates, other: Rates, limit: float) -> list[tuple]:
    ratio = mine.over(other)
    also = ", augmented" if "augmented" in mine.name else ""
    return [(name + also, ratio, f"at least {limit:g}", ratio >= limit)]


def _wait(args: Namespace, stores: list[Any]) -> None:
    """The share of a training step of the compact network that goes by waiting for its batch."""
    import torch

    from classifier.networks import build_network
    from classifier.pipeline import Augment

    torch.set_num_threads(args.threads)
    network = build_network("compact", len(CHARS) + 1)
    optimiser = torch.optim.AdamW(network.parameters())
    batches = ours(args, stores, Augment())
    waited = total = 0.0
    for step in range(args.batches + 2):
        start = time.perf_counter()
        images = next(batches)
        there = time.perf_counter()
        network(images).logsumexp(1).mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        if step >= 2:
            waited += there - start
            total += time.perf_counter() - start
    share = waited / total
    print(
        f"{'waiting for data, share of a step':<40}{share:>8.1%}  {'less than 5%':<14}"
        f"{'' if share < 0.05 else 'MISSED'}"
    )


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
