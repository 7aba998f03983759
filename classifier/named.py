"""What a user names as module:name, imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synth.errors import InputError


def load_named(
    spec: str,  # module:name; the module may lie in the working directory
    where: str,  # what the errors begin with
    kind: str,  # what the name stands for: Class or function
) -> Callable[..., Any]:
    """Raises InputError where nothing callable is found."""
    module_name, colon, name = spec.partition(":")
    if not (module_name and colon and name):
        raise InputError(f"{where}: not of the form module:{kind}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        raise InputError(f"{where}: no module {error.name!r} found") from None
    except AttributeError:
        raise InputError(f"{where}: {module_name} has no {name!r}") from None
    if not callable(found):
        raise InputError(f"{where}: {name} is not a {kind.lower()}")
    return found
