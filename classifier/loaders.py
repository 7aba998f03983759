"""Stores -> DALI -> torch: the batches of training, as the mix says, and those of evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch

from classifier.images import RESIDENT_BYTES, Images
from classifier.mixing import Mix, Picks
from classifier.pipeline import OWN_MEMORY, Augment, CheckedFunction, Device, build, draw
from synth.errors import InputError
from synth.store import SOURCES, Store

if TYPE_CHECKING:
    from nvidia.dali.pipeline import Pipeline

LEAST_EASE = 1e-6  # share of the augmentation: no pixel shows it


class Batch(TypedDict, total=False):
    images: torch.Tensor  # [B, 1, H, W] float32 -1..1
    target: torch.Tensor  # [B] int64, class
    source: torch.Tensor  # [B] int64: 0 real, 1 font, 2 gan
    row: torch.Tensor  # [B] int64, row in the store
    store: torch.Tensor  # [B] int64, index of the store
    valid: torch.Tensor  # [B] bool, evaluation only: False is padding, not to be counted


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
        ease: Callable[[int], float] = lambda step: 1.0,  # step -> share of the augmentation
    ) -> None:
        if len(stores) != len(mix.pools):
            raise ValueError(f"{len(stores)} stores for {len(mix.pools)} pools")
        if mix.batch_size % world:
            raise InputError(f"a batch of {mix.batch_size} cannot be shared by {world} processes")
        self.mix, self.augment, self.seed, self._ease = mix, augment, seed, ease
        self.next_step, self.steps_per_pass = start_step, steps_per_pass
        self._threads, self._rank, self._world = threads, rank, world
        self._user_function, self._device, self._device_id = user_function, device, device_id
        self.images = Images(stores, resident_bytes, device_id)
        self._pipeline: Pipeline | None = None
        self._pipeline_step = -1  # the step that the pipeline gives next
        self._picked: dict[int, Picks] = {}  # by step: what the pipeline is at work on

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
            images = _run(self._pipeline, self.images.size_px, self._user_function)
            batch: Batch = {"images": images, **_numbers(self._picked.pop(self.next_step))}
            self._pipeline_step += 1
            self.next_step += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Lightning puts it into its checkpoints."""
        return {"next_step": self.next_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.next_step = state["next_step"]

    def _build(self, first: int) -> Pipeline:
        mix, images, augment = self.mix, self.images, self.augment
        rank, world = self._rank, self._world
        shape = (mix.batch_size // world, images.size_px, images.size_px)
        buffer = np.empty(shape, np.uint8)  # DALI copies what it is given before it asks again
        self._picked = picked = {}

        def picks_of(step: int) -> Picks:
            if step >= mix.total_steps:
                raise StopIteration
            if step not in picked:
                picked[step] = mix.batch(step, rank, world)
            return picked[step]

        def source(number: int) -> dict[str, np.ndarray]:
            step = first + number
            picks = picks_of(step)
            # never by 0: the graph asks for all the inputs that it was built with
            eased = augment.scaled(self._ease(step) or LEAST_EASE)
            drawn = draw(eased, self.seed, step, mix.batch_size, images.size_px)
            mine = {name: array[rank::world] for name, array in drawn.items()}
            if not images.on_gpu:
                mine["images"] = images.take(picks.store, picks.row, buffer)
            return mine

        def resident(number: int) -> torch.Tensor:
            picks = picks_of(first + number)
            return images.take_on_gpu(picks.store, picks.row)

        return build(
            source,
            batch_size=mix.batch_size // world,
            threads=self._threads,
            augment=augment,
            user_function=self._user_function,
            device=self._device,
            device_id=self._device_id,
            resident=resident if images.on_gpu else None,
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
        # from the files: of the stores that training holds in memory these are a few rows
        self._images = Images(stores, resident_bytes=0)

    def __len__(self) -> int:
        return math.ceil(len(self._picks) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        picks, size, batches = self._picks, self.batch_size, len(self)

        def part(number: int) -> Picks:
            places = slice(number * size, (number + 1) * size)
            return Picks(*(getattr(picks, f.name)[places].copy() for f in fields(Picks)))

        def source(number: int) -> dict[str, np.ndarray]:
            if number >= batches:
                raise StopIteration
            shown = part(number)
            return {"images": self._images.take(shown.store, shown.row)}

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
            images = _run(pipeline, self._images.size_px, None)
            yield {"images": images, **_numbers(part(number)), "valid": valid}


def _numbers(picks: Picks) -> Batch:
    """All of a batch but its images. The arrays of `picks` are torch's from now on."""
    return {
        "target": torch.from_numpy(picks.target),
        "source": torch.from_numpy(picks.source),
        "row": torch.from_numpy(picks.row),
        "store": torch.from_numpy(picks.store),
    }


def _run(pipeline: Pipeline, size_px: int, user_function: CheckedFunction | None) -> torch.Tensor:
    """[B, 1, H, W] float32: the pipeline's next batch, in memory of its own."""
    try:
        (images,) = pipeline.run()
    except RuntimeError:
        if user_function is not None and user_function.error is not None:
            raise user_function.error from None
        raise
    own = user_function is None and bool(OWN_MEMORY)
    return _to_torch(images.as_tensor(), own).view(-1, 1, size_px, size_px)


def _to_torch(tensor: Any, own: bool) -> torch.Tensor:
    """own: its memory is this batch's alone, so that torch can have it without a copy.

    On a GPU as DALI's own iterators do it: the results of `Pipeline.run()` are there when it
    returns, and DLPack is told which stream reads them.
    """
    if own:
        return torch.from_dlpack(tensor)
    if not hasattr(tensor, "__cuda_array_interface__"):
        return torch.from_numpy(np.array(tensor))
    # aside: to wait for the stream of the training would be to wait for its last step
    training, aside = torch.cuda.current_stream(), _copying()
    with torch.cuda.stream(aside):
        copy = torch.as_tensor(tensor, device="cuda").clone()
    aside.synchronize()  # before DALI may write into it again
    copy.record_stream(training)
    return copy


@cache
def _copying() -> torch.cuda.Stream:
    return torch.cuda.Stream()
