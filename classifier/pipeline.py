"""The DALI graph: augment, normalise. The only file that imports nvidia.dali.

The graph holds no random operator. Every random number is drawn by `draw` in numpy as a function of
(seed, step) and goes in beside the images, so a resumed run sees the same pixels, any number of
threads gives the same bytes, and CPU and GPU are given the same parameters.

Left out, because DALI has them on no CPU: perspective, elastic bending, stroke widening (dilate and
erode). A user's function can do them; see `load_function`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import nvidia.dali as dali
import nvidia.dali.fn as fn
import nvidia.dali.types as types
from nvidia.dali import pipeline_def
from nvidia.dali.data_node import DataNode
from nvidia.dali.pipeline import Pipeline

from synth.canvas import MEAN, STD
from synth.errors import InputError

Device = Literal["cpu", "gpu"]
Source = Callable[[int], Mapping[str, np.ndarray]]  # number of the batch -> arrays by name
UserFunction = Callable[[np.ndarray], np.ndarray]  # [H, W] uint8 -> [H, W] uint8

PREFETCH = 2  # batches that are made ahead
_SHARP_PX = 0.05  # a blur of this sigma leaves every pixel as it is, to the last bit
_BLUR_WINDOW_PX = 5
_NOISE_VALUES, _NOISE_SIGMA = 1 << 20, 30


@dataclass(frozen=True)
class Augment:
    """Ranges of the augmentation; 0 leaves a step out. Values are drawn uniformly unless said."""

    rotation_deg: float = 8.0  # turned by up to this, either way
    scale: float = 0.12  # size times exp(-this .. this)
    aspect: float = 0.10  # width times, height divided by exp(-this .. this)
    shear_deg: float = 8.0  # slanted by up to this, either way
    translate_px: float = 3.0  # moved by up to this, in x and in y
    blur_probability: float = 0.3
    blur_sigma_px: float = 0.9  # blurred by a Gaussian of 0.3 up to this
    fade: float = 0.4  # ink times 1 - this .. 1
    contrast: float = 0.6  # contrast about the mid tone times 1 .. 1 + this: soft edges harden
    brightness: float = 25.0  # tone added, of 255, either way: soft edges swell or shrink
    noise_probability: float = 0.3
    noise_sigma: float = 16.0  # Gaussian noise of 0 up to this, of 255
    erase_probability: float = 0.15
    erase_px: float = 14.0  # a box of paper put over it, each side 4 px up to this

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            most = 1 if name.endswith("probability") else np.inf
            if not 0 <= value <= most:
                raise InputError(f"augmentation: {name} {value} is not between 0 and {most}")
        if self.fade > 1:
            raise InputError(f"augmentation: fade {self.fade} is not between 0 and 1")

    @classmethod
    def none(cls) -> Self:
        """Leaves every image as it is."""
        return cls(**dict.fromkeys(cls.__dataclass_fields__, 0.0))

    def scaled(self, strength: float) -> Self:
        """All ranges and probabilities times `strength`, 0 (nothing) to 2 (twice as much)."""
        if not 0 <= strength <= 2:
            raise InputError(f"augmentation strength {strength} is not between 0 and 2")
        values = {name: value * strength for name, value in vars(self).items()}
        for name in values:
            if name.endswith("probability") or name == "fade":
                values[name] = min(values[name], 1.0)
        return replace(self, **values)

    @property
    def moves(self) -> bool:
        return any((self.rotation_deg, self.scale, self.aspect, self.shear_deg, self.translate_px))

    @property
    def blurs(self) -> bool:
        return bool(self.blur_probability and self.blur_sigma_px)

    @property
    def tones(self) -> bool:
        return any((self.fade, self.contrast, self.brightness)) or self.noises

    @property
    def noises(self) -> bool:
        return bool(self.noise_probability and self.noise_sigma)

    @property
    def erases(self) -> bool:
        return bool(self.erase_probability and self.erase_px)


def draw(augment: Augment, seed: int, step: int, n: int, size_px: int) -> dict[str, np.ndarray]:
    """The inputs that `augmented` takes beside n images, a pure function of the arguments.

    matrix [n, 2, 3] float32: pixel of the result -> pixel of the image; blur_sigma_px [n] float32;
    gain, shift [n] float32: tone -> gain x tone + 255 shift; noise [n, H, W] int8, to be multiplied
    by noise_gain [n] float32; erase_at_px, erase_size_px [n, 2] float32: (y, x). What the
    augmentation leaves out is left out.
    """
    rng = np.random.default_rng([seed, step])
    # everything is drawn, whatever is in use: switching one step off leaves the others as they were
    unit = rng.random((16, n))
    both = 2 * unit - 1
    inputs: dict[str, np.ndarray] = {}
    if augment.moves:
        inputs["matrix"] = _matrices(augment, both[:6], size_px)
    if augment.blurs:
        low = min(0.3, augment.blur_sigma_px)
        sigma = low + (augment.blur_sigma_px - low) * unit[6]
        inputs["blur_sigma_px"] = np.where(unit[7] < augment.blur_probability, sigma, _SHARP_PX)
    if augment.tones:
        gain, contrast = 1 - augment.fade * unit[8], 1 + augment.contrast * unit[9]
        # contrast lowers the paper's tone below 0, where it is cut off; brightness may use that
        # room up but not lift the paper above 0
        low = 127.5 * (1 - contrast)
        shift = low + np.minimum(augment.brightness * both[10], -low)
        inputs["gain"], inputs["shift"] = gain * contrast, gain * shift / 255
    if augment.noises:
        sigma = augment.noise_sigma * unit[11] * (unit[12] < augment.noise_probability)
        windows = np.lib.stride_tricks.sliding_window_view(_NOISE, size_px * size_px)
        noise = windows[rng.integers(0, len(windows), n)]
        inputs["noise"] = noise.reshape(n, size_px, size_px)
        inputs["noise_gain"] = sigma / _NOISE_SIGMA
    if augment.erases:
        box = rng.random((4, n))
        side = 4 + max(augment.erase_px - 4, 0) * box[:2]
        side = np.floor(side) * (unit[13] < augment.erase_probability)
        inputs["erase_size_px"] = side.T
        inputs["erase_at_px"] = np.floor(box[2:] * (size_px - side)).T
    return {
        name: np.ascontiguousarray(array, array.dtype if name == "noise" else np.float32)
        for name, array in inputs.items()
    }


def _matrices(augment: Augment, both: np.ndarray, size_px: int) -> np.ndarray:
    """[6, n] -1..1 -> [n, 2, 3]: turn x slant x stretch about the middle, then move; inverted."""
    angle, slant = (
        np.radians(augment.rotation_deg) * both[0],
        np.radians(augment.shear_deg) * both[1],
    )
    size, aspect = np.exp(augment.scale * both[2]), np.exp(augment.aspect * both[3])
    cos, sin = np.cos(angle), np.sin(angle)
    forward = np.empty((both.shape[1], 2, 2))
    forward[:, 0, 0], forward[:, 0, 1] = cos, cos * np.tan(slant) - sin
    forward[:, 1, 0], forward[:, 1, 1] = sin, sin * np.tan(slant) + cos
    forward *= np.stack([size * aspect, size / aspect], 1)[:, None, :]
    back = np.linalg.inv(forward)
    middle = size_px / 2  # the coordinates of a pixel are those of its middle: 0.5, 1.5, ...
    moved = middle + augment.translate_px * both[4:6].T
    offset = middle - np.einsum("nij,nj->ni", back, moved)
    return np.concatenate([back, offset[:, :, None]], 2)


# read at a random place for each image; the values never change
_NOISE = (
    (np.random.default_rng(0).standard_normal(_NOISE_VALUES, np.float32) * _NOISE_SIGMA)
    .round()
    .clip(-128, 127)
    .astype(np.int8)
)


def clear_edge(images: np.ndarray) -> None:
    """Sets the outermost pixels of [n, H, W] to paper, in place.

    `augmented` moves an image with its edge pixels continued outwards, which takes half the time of
    filling with a value; with this, what is continued is paper.
    """
    images[:, 0] = images[:, -1] = images[:, :, 0] = images[:, :, -1] = 0


def augmented(images: DataNode, inputs: Mapping[str, DataNode]) -> DataNode:
    """[H, W] uint8 -> [H, W] uint8, by those inputs of `draw` that are there."""
    x = _with_channel(images)
    if "matrix" in inputs:
        x = fn.warp_affine(x, inputs["matrix"], dtype=types.FLOAT)
    if "blur_sigma_px" in inputs:
        x = fn.gaussian_blur(
            x, sigma=inputs["blur_sigma_px"], window_size=_BLUR_WINDOW_PX, dtype=types.FLOAT
        )
    if "noise" in inputs:
        x = x + _with_channel(inputs["noise"]) * inputs["noise_gain"]
    if "gain" in inputs:
        x = fn.brightness_contrast(
            x,
            brightness=inputs["gain"],
            brightness_shift=inputs["shift"],
            contrast_center=0.0,
            dtype=types.UINT8,
        )
    else:
        x = fn.cast(x, dtype=types.UINT8)
    x = fn.squeeze(x, axes=[2])
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


def normalise(images: DataNode) -> DataNode:
    """[H, W] uint8 -> [1, H, W] float32 -1..1: `synth.canvas.to_float`, to the last bit on a CPU.

    Training, validation and prediction all end in this node.
    """
    return fn.crop_mirror_normalize(
        _with_channel(images), mean=MEAN, std=STD, dtype=types.FLOAT, output_layout="CHW"
    )


def _with_channel(images: DataNode) -> DataNode:
    return fn.expand_dims(images, axes=[2], new_axis_names="C")


def build(
    source: Source,  # pure function of the batch's number, from 0; raises StopIteration at the end
    *,
    batch_size: int,  # most images of a batch
    threads: int,
    augment: Augment,
    user_function: CheckedFunction | None = None,
    device: Device = "cpu",
    device_id: int | None = None,  # the GPU; None for device "cpu"
) -> Pipeline:
    """A built pipeline with outputs (images [1, H, W] float32, tag [4] int64).

    `source` gives "images" [n, H, W] uint8, "tag" [n, 4] int64 (handed through), and what `draw`
    gives for `augment`.
    """
    names = ["images", "tag"]
    names += ["matrix"] * augment.moves + ["blur_sigma_px"] * augment.blurs
    names += ["gain", "shift"] * augment.tones + ["noise", "noise_gain"] * augment.noises
    names += ["erase_at_px", "erase_size_px"] * augment.erases

    if user_function and dali.__version__ < "2" <= np.__version__:
        # DALI 1.34 ends the process with a floating point exception there
        raise InputError(
            f"augmentation {user_function.name}: DALI {dali.__version__} cannot call Python "
            f"functions with numpy {np.__version__}; install DALI 2"
        )

    def feed(number: int) -> tuple[np.ndarray, ...]:
        arrays = source(number)
        return tuple(np.ascontiguousarray(arrays[name]) for name in names)

    # DALI calls Python functions only where nothing is made ahead
    serial = {"exec_async": False, "exec_pipelined": False} if user_function else {}

    @pipeline_def(
        batch_size=batch_size,
        num_threads=threads,
        device_id=device_id,
        prefetch_queue_depth=1 if user_function else PREFETCH,
        **serial,
    )
    def graph() -> tuple[DataNode, DataNode]:
        nodes = fn.external_source(
            feed,
            num_outputs=len(names),
            batch=True,
            layout=["HW" if name in ("images", "noise") else "" for name in names],
        )
        inputs = dict(zip(names, nodes, strict=True))
        images, tag = inputs.pop("images"), inputs.pop("tag")
        if device == "gpu":
            images = images.gpu()
            if "noise" in inputs:
                inputs["noise"] = inputs["noise"].gpu()
        if inputs:
            images = augmented(images, inputs)
        if user_function:
            images = fn.python_function(images, function=user_function, device=device)
            images = fn.reshape(images, layout="HW")
        return normalise(images), tag

    pipeline = graph()
    pipeline.build()
    return pipeline


class CheckedFunction:
    """A user's function in the graph, with its answers checked.

    It is called for one image after the other, after the built-in augmentation: a numpy array (on a
    GPU: a CuPy array) [H, W] uint8, ink high on 0, -> the same shape and type. Random numbers in it
    are its own affair: for runs that can be resumed exactly it must derive them from the image.
    """

    def __init__(self, function: UserFunction, name: str) -> None:
        self.function, self.name = function, name
        self.error: InputError | None = None  # DALI turns an exception into text: kept here

    def __call__(self, image: Any) -> Any:
        try:
            out = self.function(image)
            self._check(image, out)
        except InputError as error:
            self.error = error
            raise
        except Exception as error:
            self.error = InputError(
                f"augmentation {self.name}: {type(error).__name__}: {error} "
                f"(given an image {image.shape} {image.dtype})"
            )
            raise self.error from error
        return out

    def _check(self, image: Any, out: Any) -> None:
        if not (hasattr(out, "shape") and hasattr(out, "dtype")):
            raise InputError(f"augmentation {self.name}: gave {type(out).__name__}, not an array")
        if out.dtype.kind == "f" and bool((out != out).any()):
            raise InputError(f"augmentation {self.name}: gave NaN in {out.shape} {out.dtype}")
        if out.shape != image.shape or out.dtype != image.dtype:
            raise InputError(
                f"augmentation {self.name}: gave {out.shape} {out.dtype} for an image "
                f"{image.shape} {image.dtype}; it must keep both"
            )


def load_function(spec: str) -> CheckedFunction:
    """From "module:function"; the module may lie in the working directory."""
    module_name, colon, function_name = spec.partition(":")
    if not (module_name and colon and function_name):
        raise InputError(f"augmentation {spec!r}: not of the form module:function")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except ModuleNotFoundError as error:
        raise InputError(f"augmentation {spec}: no module {error.name!r} found") from None
    except AttributeError:
        raise InputError(f"augmentation {spec}: {module_name} has no {function_name!r}") from None
    if not callable(function):
        raise InputError(f"augmentation {spec}: {function_name} is not a function")
    return CheckedFunction(function, spec)
