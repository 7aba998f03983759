"""What a command's line leaves to its preset, and with it to the version and the machine.

A study knows commands by the names of their scripts alone; so it does here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from importlib import import_module
from typing import Any

from classifier.study.records import values_of
from synth.runs import plain

# script -> the module whose `preset(name or None)` -> (name, dataclass) says what it takes
_MODULES = {"train_gan.py": "gan.train", "train_classifier.py": "classifier.train"}


def left_to_preset(words: Sequence[str]) -> dict[str, Any]:
    """Name -> value of what the line does not set, as plain JSON values; of a script that has no
    presets, none. Raises InputError for a preset that is not there."""
    return dict(_left(tuple(words)))


@cache
def _left(words: tuple[str, ...]) -> dict[str, Any]:
    if (module := _MODULES.get(words[0])) is None:
        return {}
    named = values_of(words, "--preset")
    name, config = import_module(module).preset(named[-1] if named else None)
    said = {w.removeprefix("--").partition("=")[0].replace("-", "_") for w in words}
    return plain({"preset": name} | {k: v for k, v in asdict(config).items() if k not in said})
