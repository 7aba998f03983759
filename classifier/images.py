"""The images of a run's stores: in main memory, in a GPU's, or in the files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from synth.errors import InputError
from synth.store import Store

RESIDENT_BYTES = 2 << 30  # stores up to this together are held in memory
GPU_SHARE = 0.25  # of the free memory of a GPU that the images may take


class Images:
    """The images of several stores, in memory where they fit, else through their memory maps."""

    def __init__(
        self,
        stores: Sequence[Store],
        resident_bytes: int = RESIDENT_BYTES,
        device_id: int | None = None,  # the GPU whose memory is to hold them, where they fit
    ) -> None:
        self._stores = list(stores)
        sizes = {store.canvas.size_px for store in stores}
        if len(sizes) != 1:
            raise InputError(f"stores with images of different sizes: {sorted(sizes)} px")
        (self.size_px,) = sizes
        self._first = np.cumsum([0, *(len(store) for store in stores)])[:-1]
        self._all: np.ndarray | None = None
        if sum(store.images.nbytes for store in stores) <= resident_bytes:
            self._all = np.empty((sum(map(len, stores)), self.size_px, self.size_px), np.uint8)
            for first, store in zip(self._first, stores, strict=True):
                _read(store, self._all[first : first + len(store)])
        self._on_gpu: torch.Tensor | None = None
        if device_id is not None and self._all is not None:
            device = torch.device("cuda", device_id)
            if self._all.nbytes < GPU_SHARE * torch.cuda.mem_get_info(device)[0]:
                self._on_gpu = torch.from_numpy(self._all).to(device)
                self._all = None

    @property
    def on_gpu(self) -> bool:
        """Whether `take_on_gpu` is the way, not `take`."""
        return self._on_gpu is not None

    def take_on_gpu(self, store: np.ndarray, row: np.ndarray) -> torch.Tensor:
        """[n], [n] int64 -> [n, H, W] uint8 on the GPU, a new tensor."""
        assert self._on_gpu is not None
        at = torch.from_numpy(self._first[store] + row).to(self._on_gpu.device)
        return self._on_gpu.index_select(0, at)

    def fetch(self, store: np.ndarray, row: np.ndarray) -> np.ndarray:
        """[n], [n] int64 -> [n, H, W] uint8, a new array in main memory wherever they lie."""
        return self.take_on_gpu(store, row).cpu().numpy() if self.on_gpu else self.take(store, row)

    def take(self, store: np.ndarray, row: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """[n], [n] int64 -> [n, H, W] uint8: `out`, or a new array."""
        if out is None:
            out = np.empty((len(row), self.size_px, self.size_px), np.uint8)
        if self._all is not None:
            at = self._first[store] + row
            if len(at) and not 0 <= at.min() <= at.max() < len(self._all):
                raise IndexError(f"rows {row.min()} to {row.max()} of {len(self._all)} images")
            return np.take(self._all, at, 0, out, "clip")  # "raise" takes through another buffer
        for i in np.unique(store):
            mine = store == i
            out[mine] = self._stores[i].take(row[mine])
        return out


def _read(store: Store, out: np.ndarray) -> None:
    """All images of a store into `out` [N, H, W] uint8, without a copy beside it.

    Read as a file: a map of a file that shrank kills the process where reading fails.
    """
    path = store.path / "images.npy"
    try:
        header = np.lib.format.open_memmap(path, mode="r")  # and checks the file's length
        if header.shape != out.shape or header.dtype != out.dtype:
            raise InputError(f"{store.path}: images.npy changed since it was opened")
        if not header.flags.c_contiguous:  # no store of ours
            out[:] = np.load(path, allow_pickle=False)
            return
        with path.open("rb") as file:
            file.seek(header.offset)
            if file.readinto(out.data) < out.nbytes:
                raise EOFError(f"{path} was cut while it was read")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{store.path}: damaged ({error}); make the store again") from None
