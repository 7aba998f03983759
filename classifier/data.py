"""Batches for the classifier: stores -> DALI -> torch, and the Lightning data module."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import pytorch_lightning as pl
import torch

from classifier.mixing import Mix, Picks
from classifier.pipeline import (
    Augment,
    CheckedFunction,
    Device,
    build,
    clear_edge,
    draw,
)
from synth.errors import InputError
from synth.store import SOURCES, Store

if TYPE_CHECKING:
    from nvidia.dali.pipeline import Pipeline

RESIDENT_BYTES = 4 << 30  # stores up to this together are held in memory


class Batch(TypedDict, total=False):
    images: torch.Tensor  # [B, 1, H, W] float32 -1..1
    target: torch.Tensor  # [B] int64, class
    source: torch.Tensor  # [B] int64: 0 real, 1 font, 2 gan
    row: torch.Tensor  # [B] int64, row in the store
    store: torch.Tensor  # [B] int64, index of the store
    valid: torch.Tensor  # [B] bool, evaluation only: False is padding, not to be counted


class Images:
    """The images of several stores, in memory where they fit, else through their memory maps."""

    def __init__(self, stores: Sequence[Store], resident_bytes: int = RESIDENT_BYTES) -> None:
        self._stores = list(stores)
        sizes = {store.canvas.size_px for store in stores}
        if len(sizes) != 1:
            raise InputError(f"stores with images of different sizes: {sorted(sizes)} px")
        (self.size_px,) = sizes
        self._bytes = [(store.path / "images.npy").stat().st_size for store in stores]
        self._first = np.cumsum([0, *(len(store) for store in stores)])[:-1]
        self._all: np.ndarray | None = None
        if sum(store.images.nbytes for store in stores) <= resident_bytes:
            # read as files: a map of a file that shrank kills the process where reading fails
            self._all = np.concatenate([self._read(store) for store in stores])

    @staticmethod
    def _read(store: Store) -> np.ndarray:
        try:
            images = np.load(store.path / "images.npy", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{store.path}: damaged ({error}); make the store again") from None
        if images.shape != store.images.shape:
            raise InputError(f"{store.path}: images.npy changed since it was opened")
        return images

    def take(self, store: np.ndarray, row: np.ndarray) -> np.ndarray:
        """[n], [n] int64 -> [n, H, W] uint8, a new array."""
        if self._all is not None:
            return self._all[self._first[store] + row]
        out = np.empty((len(row), self.size_px, self.size_px), np.uint8)
        for i in np.unique(store):
            path = self._stores[i].path / "images.npy"
            if path.stat().st_size != self._bytes[i]:
                raise InputError(
                    f"{path}: {path.stat().st_size} bytes, {self._bytes[i]} when it was opened; "
                    "something writes into the store"
                )
            mine = store == i
            out[mine] = self._stores[i].images[row[mine]]
        return out


class TrainLoader:
    """The batches of a run from `next_step` on, as dicts (see `Batch`).

    Going through it again goes on where the last time stopped: each pass gives `steps_per_pass`
    batches, or what is left of the run.
    """

    def __init__(
        self,
        stores: Sequence[Store],  # those of mix.pools, in that order
        mix: Mix,
        augment: Augment,
        *,
        seed: int,  # of the augmentation
        threads: int = 2,  # of DALI
        start_step: int = 0,
        steps_per_pass: int | None = None,  # None: all that are left
        rank: int = 0,
        world: int = 1,  # a batch is shared equally by this many processes
        user_function: CheckedFunction | None = None,
        device: Device = "cpu",
        device_id: int | None = None,  # the GPU; None for device "cpu"
        resident_bytes: int = RESIDENT_BYTES,
    ) -> None:
        if len(stores) != len(mix.pools):
            raise ValueError(f"{len(stores)} stores for {len(mix.pools)} pools")
        if mix.batch_size % world:
            raise InputError(f"a batch of {mix.batch_size} cannot be shared by {world} processes")
        self.mix, self.augment, self.seed = mix, augment, seed
        self.next_step, self.steps_per_pass = start_step, steps_per_pass
        self._threads, self._rank, self._world = threads, rank, world
        self._user_function, self._device, self._device_id = user_function, device, device_id
        self._images = Images(stores, resident_bytes)
        self._pipeline: Pipeline | None = None
        self._pipeline_step = -1  # the step that the pipeline gives next

    def use(self, mix: Mix) -> None:
        """Takes another mix (other sample weights) from `next_step` on."""
        self.mix = mix
        self._pipeline = None  # what it has made ahead is of the old mix

    def __len__(self) -> int:
        """Batches of a whole pass."""
        return self.steps_per_pass or max(self.mix.total_steps - self.next_step, 0)

    def __iter__(self) -> Iterator[Batch]:
        end = min(self.next_step + len(self), self.mix.total_steps)
        while self.next_step < end:
            if self._pipeline is None or self._pipeline_step != self.next_step:
                self._pipeline = self._build(self.next_step)
                self._pipeline_step = self.next_step
            batch = _run(self._pipeline, self._user_function)
            self._pipeline_step += 1
            self.next_step += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Lightning puts it into its checkpoints."""
        return {"next_step": self.next_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.next_step = state["next_step"]

    def _build(self, first: int) -> Pipeline:
        mix, images, augment = self.mix, self._images, self.augment
        rank, world = self._rank, self._world

        def source(number: int) -> dict[str, np.ndarray]:
            step = first + number
            if step >= mix.total_steps:
                raise StopIteration
            picks = mix.batch(step, rank, world)
            pixels = images.take(picks.store, picks.row)
            if augment.moves:
                clear_edge(pixels)
            drawn = draw(augment, self.seed, step, mix.batch_size, images.size_px)
            mine = {name: array[rank::world] for name, array in drawn.items()}
            return {"images": pixels, "tag": _tag(picks), **mine}

        return build(
            source,
            batch_size=mix.batch_size // world,
            threads=self._threads,
            augment=augment,
            user_function=self._user_function,
            device=self._device,
            device_id=self._device_id,
        )


class EvalLoader:
    """Every given row once, in order, without augmentation. The last batch may be shorter.

    Over several processes each has as many batches of the same size as the others: `valid` is False
    where the last one repeats a row to fill up.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        rows: Sequence[np.ndarray],  # for each store [n] int64
        targets: Sequence[np.ndarray],  # for each store [N] int64, of all its rows
        *,
        batch_size: int = 256,
        threads: int = 2,
        rank: int = 0,
        world: int = 1,
        device: Device = "cpu",
        device_id: int | None = None,
        resident_bytes: int = RESIDENT_BYTES,
    ) -> None:
        store = np.repeat(np.arange(len(stores)), [len(r) for r in rows])
        row = np.concatenate([np.asarray(r, np.int64) for r in rows])
        target = np.concatenate([t[r] for t, r in zip(targets, rows, strict=True)])
        names = [s.column("source")[r] for s, r in zip(stores, rows, strict=True)]
        if len(row) == 0:
            raise InputError("not one image to evaluate on")
        source = np.array([SOURCES.index(name) for name in np.concatenate(names)], np.int64)
        places = np.arange(rank, math.ceil(len(row) / world) * world, world)
        self._valid = places < len(row)
        at = np.minimum(places, len(row) - 1)
        self._picks = Picks(store[at], source[at], row[at], target[at])
        self.batch_size = batch_size
        self._threads, self._device, self._device_id = threads, device, device_id
        self._images = Images(stores, resident_bytes)

    def __len__(self) -> int:
        return math.ceil(len(self._picks) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        picks, size, batches = self._picks, self.batch_size, len(self)
        tags = _tag(picks)

        def source(number: int) -> dict[str, np.ndarray]:
            if number >= batches:
                raise StopIteration
            part = slice(number * size, (number + 1) * size)
            return {
                "images": self._images.take(picks.store[part], picks.row[part]),
                "tag": tags[part],
            }

        pipeline = build(
            source,
            batch_size=min(size, len(picks)),
            threads=self._threads,
            augment=Augment.none(),
            device=self._device,
            device_id=self._device_id,
        )
        for number in range(batches):
            valid = torch.from_numpy(self._valid[number * size : (number + 1) * size].copy())
            yield {**_run(pipeline, None), "valid": valid}


def _tag(picks: Picks) -> np.ndarray:
    return np.stack([picks.store, picks.source, picks.row, picks.target], 1)


def _run(pipeline: Pipeline, user_function: CheckedFunction | None) -> Batch:
    """The pipeline's next batch, in memory of its own: DALI writes its buffers again."""
    try:
        images, tag = pipeline.run()
    except RuntimeError:
        if user_function is not None and user_function.error is not None:
            raise user_function.error from None
        raise
    store, source, row, target = torch.from_numpy(np.array(tag.as_tensor())).unbind(1)
    return {
        "images": _to_torch(images.as_tensor()),
        "target": target,
        "source": source,
        "row": row,
        "store": store,
    }


def _to_torch(tensor: Any) -> torch.Tensor:
    if hasattr(tensor, "__cuda_array_interface__"):
        copy = torch.as_tensor(tensor, device="cuda").clone()
        torch.cuda.current_stream().synchronize()  # before DALI may write into it again
        return copy
    return torch.from_numpy(np.array(tensor))


class MixData(pl.LightningDataModule):
    """Training and validation batches for a Lightning trainer. A run is counted in steps.

    One Lightning epoch is `steps_per_epoch` steps. A resumed run gets the batches that it would
    have got.
    """

    def __init__(
        self,
        stores: Sequence[Store],  # those of mix.pools, in that order
        mix: Mix,  # batch_size is that of all processes together
        augment: Augment,
        *,
        seed: int,
        steps_per_epoch: int,
        val_stores: Sequence[Store] = (),
        val_rows: Sequence[np.ndarray] = (),  # for each [n] int64
        val_targets: Sequence[np.ndarray] = (),  # for each [N] int64, of all its rows
        val_batch_size: int = 256,
        threads: int = 2,
        user_function: CheckedFunction | None = None,
        device: Device = "cpu",
        resident_bytes: int = RESIDENT_BYTES,
    ) -> None:
        super().__init__()
        self.mix, self.steps_per_epoch = mix, steps_per_epoch
        self._stores, self._augment, self._seed = stores, augment, seed
        self._val = (val_stores, val_rows, val_targets)
        self._val_batch_size, self._threads = val_batch_size, threads
        self._user_function, self._device = user_function, device
        self._resident_bytes = resident_bytes
        self._train: TrainLoader | None = None

    def train_dataloader(self) -> TrainLoader:
        if self.trainer.accumulate_grad_batches != 1:
            raise ValueError("a batch is a step here: use a larger batch, not accumulated ones")
        self._train = TrainLoader(
            self._stores,
            self.mix,
            self._augment,
            seed=self._seed,
            start_step=self.trainer.global_step,
            steps_per_pass=self.steps_per_epoch,
            user_function=self._user_function,
            **self._where(),
        )
        return self._train

    @property
    def has_validation(self) -> bool:
        return bool(self._val[0])

    def val_dataloader(self) -> EvalLoader | list[EvalLoader]:
        if not self._val[0]:
            return []
        return EvalLoader(*self._val, batch_size=self._val_batch_size, **self._where())

    def set_weights(self, weights: Sequence[np.ndarray] | None) -> None:
        """Sample weights, for each store's training rows, from the next batch on."""
        self.mix = self.mix.with_weights(weights)
        if self._train is not None:
            self._train.use(self.mix)

    def state_dict(self) -> dict[str, Any]:
        """What the batches depend on that changes while training."""
        weights = self.mix.weights
        return {"weights": None if weights is None else [torch.from_numpy(w) for w in weights]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        weights = state["weights"]
        self.set_weights(None if weights is None else [w.numpy() for w in weights])

    def _where(self) -> dict[str, Any]:
        gpu = self.trainer.strategy.root_device.index if self._device == "gpu" else None
        return {
            "threads": self._threads,
            "rank": self.trainer.global_rank,
            "world": self.trainer.world_size,
            "device": self._device,
            "device_id": gpu,
            "resident_bytes": self._resident_bytes,
        }
