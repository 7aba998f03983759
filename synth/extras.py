"""Packages that only some data formats need: imported when they are, with a clear error."""

from __future__ import annotations

import importlib
from types import ModuleType

from synth.errors import InputError

# packages that whole commands need and not all do -> the extra of pyproject.toml
EXTRAS = {
    name: extra
    for extra, names in {
        "serve": ("flask", "openvino", "prometheus_client", "waitress"),
        "export": ("onnx", "onnxscript"),
    }.items()
    for name in names
}


def need(module: str, extra: str) -> ModuleType:
    """The module, or an InputError that names the extra of pyproject.toml which installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name):
            raise  # the package is there, and something it needs is not
        raise InputError(
            f"the package {module} is not installed; pip install 'inkfill[{extra}]'"
        ) from None
