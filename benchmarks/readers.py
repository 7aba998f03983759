"""Ways to read images by their numbers from a folder that holds them in every format. No benchmark
by itself.

Each is opened with that folder and then takes batches: `raw/` image files, `hdf5.h5`, `lmdb.lmdb`,
`tfrecord.tfrecord`, `store/`. What it leaves open is closed with the stack that it is given: LMDB
opens a file once in a process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

SIZE_PX = 64
Take = Callable[[Any], Any]  # [B] int64, numbers of images -> [B, 64, 64] uint8
DALI_AHEAD = 4  # batches that DALI has begun before they are asked for: 2, its reader one more


def raw_files(folder: Path) -> list[Path]:
    """In the order of the store's rows; an exported table beside them is none."""
    return sorted(path for path in (folder / "raw").iterdir() if path.suffix != ".jsonl")


def pillow(folder: Path, open_until: ExitStack) -> Take:
    import numpy as np
    from PIL import Image

    files = raw_files(folder)

    def one(path: Path) -> Any:
        with Image.open(path) as image:
            return np.asarray(image.convert("L").resize((SIZE_PX, SIZE_PX)))

    return lambda at: np.stack([one(files[i]) for i in at])


def opencv(folder: Path, open_until: ExitStack) -> Take:
    import cv2
    import numpy as np

    cv2.setNumThreads(0)
    files = [str(path) for path in raw_files(folder)]

    def one(path: str) -> Any:
        return cv2.resize(cv2.imread(path, cv2.IMREAD_GRAYSCALE), (SIZE_PX, SIZE_PX))

    return lambda at: np.stack([one(files[i]) for i in at])


def hdf5(folder: Path, open_until: ExitStack) -> Take:
    import h5py
    import numpy as np

    images = open_until.enter_context(h5py.File(folder / "hdf5.h5", "r"))["images"]
    return lambda at: np.stack([images[i] for i in at])


def lmdb(folder: Path, open_until: ExitStack) -> Take:
    import lmdb
    import numpy as np

    environment = open_until.enter_context(
        lmdb.open(str(folder / "lmdb.lmdb"), readonly=True, lock=False, readahead=False)
    )

    def take(at: Any) -> Any:
        with environment.begin() as transaction:
            return np.stack([_decoded(transaction.get(b"image-%09d" % (i + 1))) for i in at])

    return take


def tfrecord(folder: Path, open_until: ExitStack) -> Take:
    import numpy as np

    from synth.format_tfrecord import list_tfrecord

    listing = list_tfrecord(folder, [folder / "tfrecord.tfrecord"], 0, None)
    return lambda at: np.stack([_decoded(listing.read(listing.found[i])) for i in at])


def store(folder: Path, open_until: ExitStack) -> Take:
    from synth.store import Store

    images = Store.open(folder / "store").images
    return lambda at: images[at]


def _decoded(data: bytes) -> Any:
    import io

    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)))


LOADERS = {
    "raw files, Pillow": pillow,
    "raw files, OpenCV": opencv,
    "HDF5": hdf5,
    "LMDB": lmdb,
    "TFRecord": tfrecord,
    "our store": store,
}


def dali_files(folder: Path, order: list[int], batch_size: int, threads: int) -> Iterator[Any]:
    from nvidia.dali import fn, pipeline_def, types

    paths = raw_files(folder)

    @pipeline_def(batch_size=batch_size, num_threads=threads, device_id=None)
    def graph() -> Any:
        data, _ = fn.readers.file(files=[str(paths[i]) for i in order])
        image = fn.decoders.image(data, output_type=types.GRAY)
        return fn.resize(image, size=(SIZE_PX, SIZE_PX))

    pipeline = graph()
    pipeline.build()
    while True:
        (images,) = pipeline.run()
        yield images.as_array()[..., 0]
