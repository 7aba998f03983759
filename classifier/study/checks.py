"""What no study could run on, found when its file is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from classifier.study.records import words_of
from synth.errors import InputError
from synth.groups import parse_groups

if TYPE_CHECKING:
    from classifier.study.grid import Study

OWN = ("real", "out", "seed")  # places of a command that are no stores
_TAKEN = ("test", "runs", "groups.json", "cut")  # what else is beside a store, or called like one


def check(study: Study, path: Path) -> None:
    """Raises InputError, naming the file and the place."""
    for name in (*study.data, *study.stores, *study.arms):
        if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
            raise InputError(f"{path}: {name!r} is to name a folder: letters, digits, _ - .")
    if taken := set(study.stores) & set(OWN):
        raise InputError(f"{path}: stores: {min(taken)!r} means something else in a command")
    if taken := set(study.stores) & set(_TAKEN):
        raise InputError(f"{path}: stores: {min(taken)!r} is another folder of a scenario")
    _check_lines(study, path)
    for name in study.data:
        for listed in (*study.seeds_of(name), study.arms_of(name)):
            if not listed or len(set(listed)) < len(listed):
                raise InputError(
                    f"{path}: data: {name}: {list(listed)}: wanted one at least, none twice"
                )
    _known(study, path, "stores", {n for m in study.stores.values() for n in m.needs})
    _known(study, path, "stores", {n for a in study.arms.values() for n in a.stores})
    named = {study.compare.baseline, *([study.compare.oracle] if study.compare.oracle else [])}
    named |= {*study.compare.gaps, *study.compare.gaps.values()}
    for worth in study.compare.worth:
        named |= {*worth.real.values(), *worth.arms}
    for curve in study.compare.curves:
        named |= {arm for line in curve.lines.values() for arm in line.values()}
    for data in study.data.values():
        named |= set(data.arms or ())
    _known(study, path, "arms", named)
    for name, data in study.data.items():
        if (data.test_names is None) == (data.test_images is None):
            raise InputError(f"{path}: data: {name}: wanted test_names or test_images")
        groups = {g.name for g in parse_groups(data.groups)}
        for arm in study.arms_of(name):
            if lost := set(study.arms[arm].images) - groups:
                raise InputError(f"{path}: arms: {arm}: {name} has no group {min(lost)!r}")
    groups = {g.name for data in study.data.values() for g in parse_groups(data.groups)}
    if lost := {*study.compare.gap, *(w.group for w in study.compare.worth)} - groups:
        raise InputError(f"{path}: compare: no data has a group {min(lost)!r}")
    makers = dict(study.stores)
    while makers:  # each round takes those out that need none of the rest
        free = [n for n, m in makers.items() if not set(m.needs) & set(makers)]
        if not free:
            raise InputError(f"{path}: stores: {', '.join(makers)} need each other")
        for name in free:
            del makers[name]


def _check_lines(study: Study, path: Path) -> None:
    """Options and commands must be such as a shell would understand."""
    lines = {"classifier": study.classifier}
    for name, data in study.data.items():
        lines |= {
            f"data: {name}": data.classifier,
            f"data: {name}: import": data.import_options,
        }
    lines |= {f"arms: {name}": arm.options for name, arm in study.arms.items()}
    lines |= {f"stores: {name}": maker.command for name, maker in study.stores.items()}
    for where, line in lines.items():
        try:
            words = words_of(line)
        except InputError as error:
            raise InputError(f"{path}: {where}: {error}") from None
        if not words and where.startswith("stores: "):
            raise InputError(f"{path}: {where}: no command")


def _known(study: Study, path: Path, section: str, names: set[str]) -> None:
    if lost := sorted(names - set(getattr(study, section))):
        raise InputError(f"{path}: {section}: there is no {lost[0]!r}")
