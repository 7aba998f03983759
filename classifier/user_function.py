"""A user's own numpy function in the pipeline, with its answers checked."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from classifier.named import load_named
from synth.errors import InputError

UserFunction = Callable[[np.ndarray], np.ndarray]  # [H, W] uint8 -> [H, W] uint8


class CheckedFunction:
    """A user's function in the graph, with its answers checked.

    It is called for one image after the other, after the built-in augmentation: a numpy array
    [H, W] uint8, ink high on 0 -> the same shape and type. One with an attribute `takes_cupy` that
    is true is given CuPy arrays where the batches are made on a GPU and CuPy is installed; any
    other keeps the making of the batches on the CPU. Random numbers in it are its own affair: for
    runs that can be resumed exactly it must derive them from the image.
    """

    def __init__(self, function: UserFunction, name: str) -> None:
        self.function, self.name = function, name
        self.error: InputError | None = None  # DALI turns an exception into text: kept here

    @property
    def on_gpu(self) -> bool:
        """Whether it can be called where the images lie on a GPU."""
        return bool(getattr(self.function, "takes_cupy", False)) and find_spec("cupy") is not None

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
    return CheckedFunction(load_named(spec, f"augmentation {spec}", "function"), spec)
