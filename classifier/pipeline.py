"""The DALI graph: augment, normalise. The only file that imports nvidia.dali.

The graph holds no random operator: `augmentation` draws every number, and it goes in beside the
images. Elastic bending and stroke widening (dilate and erode) are left out, because DALI has them
on no CPU: see `bending`. It holds no decoder either: a store holds pixels, decoded once at import,
which skips and lists what is broken, where one damaged file would end a DALI batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import nvidia.dali as dali
import nvidia.dali.fn as fn
import nvidia.dali.ops as ops
from nvidia.dali import pipeline_def
from nvidia.dali.data_node import DataNode
from nvidia.dali.pipeline import Pipeline
from nvidia.dali.types import DALIDataType

from classifier.augmentation import Augment, draw
from classifier.user_function import CheckedFunction, UserFunction, load_function
from synth.canvas import MEAN, STD
from synth.errors import InputError

__all__ = [
    "Augment",
    "CheckedFunction",
    "Device",
    "Source",
    "UserFunction",
    "augmented",
    "build",
    "draw",
    "load_function",
    "normalise",
]

Device = Literal["cpu", "gpu"]
Source = Callable[[int], Mapping[str, np.ndarray]]  # number of the batch -> arrays by name
Resident = Callable[[int], Any]  # number of the batch -> [n, H, W] uint8 on the GPU

PREFETCH = 2  # batches that are made ahead
_CPU_OPS = ops.cpu_ops()  # type: ignore[attr-defined, unused-ignore]  # not in DALI's stub
# not yet in DALI 1.34
HAS_PERSPECTIVE = "experimental__WarpPerspective" in _CPU_OPS
_HAS_DYNAMIC = "exec_dynamic" in inspect.signature(Pipeline.__init__).parameters
OWN_MEMORY = {"exec_dynamic": True} if _HAS_DYNAMIC else {}


def augmented(images: DataNode, inputs: Mapping[str, DataNode]) -> DataNode:
    """[H, W, 1] uint8 -> [H, W, 1] uint8, by those inputs of `draw` that are there."""
    x = images
    if "matrix" in inputs:
        x = _warp(x, inputs["matrix"])
    if "blur_sigma_px" in inputs:
        x = fn.gaussian_blur(
            x,
            sigma=inputs["blur_sigma_px"],
            window_size=inputs["blur_window_px"],
            dtype=DALIDataType.FLOAT,
        )
    if "noise" in inputs:
        x = x + inputs["noise"] * inputs["noise_gain"]
    if "gain" in inputs:
        x = fn.brightness_contrast(
            x,
            brightness=inputs["gain"],
            brightness_shift=inputs["shift"],
            contrast_center=0.0,
            dtype=DALIDataType.UINT8,
        )
    else:
        x = fn.cast(x, dtype=DALIDataType.UINT8)
    if "grid_px" in inputs:
        x = fn.grid_mask(
            x,
            ratio=inputs["grid_ratio"],
            tile=inputs["grid_px"],
            angle=inputs["grid_angle"],
            shift_x=inputs["grid_x"],
            shift_y=inputs["grid_y"],
        )
    if "erase_at_px" in inputs:
        x = fn.erase(
            x,
            anchor=inputs["erase_at_px"],
            shape=inputs["erase_size_px"],
            normalized=False,
            axis_names="HW",
            fill_value=0,
        )
    return x


def _warp(images: DataNode, matrix: DataNode) -> DataNode:
    """Outside of the image is paper."""
    if HAS_PERSPECTIVE:  # also the faster of the two, by two to three
        return fn.experimental.warp_perspective(images, matrix=matrix)
    return fn.warp_affine(images, matrix, fill_value=0, dtype=DALIDataType.UINT8)


def normalise(images: DataNode) -> DataNode:
    """uint8 -> float32 -1..1, of any shape: `synth.canvas.to_float`, to the last bit on a CPU.

    Training and validation end in this node. Prediction and the service, which do without DALI, use
    `to_float` itself: the same numbers, since a test holds the two equal.
    """
    # crop_mirror_normalize gives the same bits in twice the time
    return fn.normalize(images, mean=MEAN, stddev=STD, dtype=DALIDataType.FLOAT)


def build(
    source: Source,  # pure function of the batch's number, from 0; raises StopIteration at the end
    *,
    batch_size: int,  # most images of a batch
    threads: int,
    augment: Augment,
    user_function: CheckedFunction | None = None,
    device: Device = "cpu",
    device_id: int | None = None,  # the GPU; None for device "cpu"
    resident: Resident | None = None,  # images that are on the GPU already; None: from `source`
) -> Pipeline:
    """A built pipeline whose output is the images, batch after batch in the order of their numbers.

    `source` gives "images" [n, H, W] uint8 (but with `resident`) and what `draw` gives for
    `augment`. The output as one tensor is float32 and holds n x H x W numbers in that order; its
    shape depends on what DALI takes for a sample.
    """
    # DALI's work for each sample takes longer than to normalise it: where nothing differs from
    # image to image, it is given the batch as one sample
    whole = not augment.inputs and user_function is None
    layout = "" if whole else "HWC"
    names = [*augment.inputs] if resident else ["images", *augment.inputs]
    if augment.perspective and not HAS_PERSPECTIVE:
        raise InputError(
            f"augmentation: DALI {dali.__version__} has no perspective on a CPU; install DALI 2"
        )
    if user_function and dali.__version__ < "2" <= np.__version__:
        # DALI 1.34 ends the process with a floating point exception there
        raise InputError(
            f"augmentation {user_function.name}: DALI {dali.__version__} cannot call Python "
            f"functions with numpy {np.__version__}; install DALI 2"
        )

    def samples(name: str, array: Any) -> Any:
        """[n, ...] -> as DALI takes it, sample after sample."""
        if whole:
            return array[None]
        return array[..., None] if name in ("images", "noise") else array

    def feed(number: int) -> tuple[np.ndarray, ...]:
        arrays = dict(source(number))
        if "matrix" in arrays and not HAS_PERSPECTIVE:
            arrays["matrix"] = arrays["matrix"][:, :2]
        return tuple(np.ascontiguousarray(samples(name, arrays[name])) for name in names)

    # DALI calls Python functions only where nothing is made ahead; elsewhere the dynamic executor
    # gives each batch memory of its own, which torch may keep
    executor = {"exec_async": False, "exec_pipelined": False} if user_function else OWN_MEMORY

    @pipeline_def(  # type: ignore[call-overload, unused-ignore]  # stub: no exec_dynamic
        batch_size=1 if whole else batch_size,
        num_threads=threads,
        device_id=device_id,
        prefetch_queue_depth=1 if user_function else PREFETCH,
        **executor,
    )
    def graph() -> DataNode:
        inputs = {}
        if names:
            nodes = fn.external_source(
                feed,
                num_outputs=len(names),
                batch=True,
                layout=[layout if name in ("images", "noise") else "" for name in names],
            )
            inputs = dict(zip(names, nodes, strict=True))
        if resident:
            images = fn.external_source(
                lambda number: samples("images", resident(number)),
                batch=True,
                device="gpu",
                layout=layout,
            )
        else:
            images = inputs.pop("images")
        if device == "gpu":
            images = images.gpu()
            if "noise" in inputs:
                inputs["noise"] = inputs["noise"].gpu()
        if inputs:
            images = augmented(images, inputs)
        if user_function:
            images = fn.squeeze(images, axes=[2])
            images = fn.python_function(images, function=user_function, device=device)
        return normalise(images)

    pipeline = graph()
    pipeline.build()
    return pipeline
