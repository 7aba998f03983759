"""What every training run's folder has: settings it can go on with, and lines of metrics."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from synth.errors import InputError
from synth.files import write_text


def plain(value: Any) -> Any:
    """As JSON and YAML keep it: tuples become lists."""
    return json.loads(json.dumps(value))


def keep_settings(
    out: Path,  # the run's folder
    settings: dict[str, dict[str, Any]],  # section -> values; written to config.yaml
    binding: tuple[str, ...],  # sections that an unfinished run may not change
    defaults: Mapping[str, Any] | None = None,  # what a name stands for that the run does not have
) -> None:
    """Writes `config.yaml`. Raises InputError, naming each changed value, where the folder holds a
    run that was started with others, and where it holds something that is no run."""
    path, now = out / "config.yaml", plain(settings)
    if path.is_file():
        before = read_settings(path, binding)
        missing = plain(dict(defaults or {}))
        changed = [
            f"{name}: {was} -> {value}"
            for section in binding
            for name, value in now[section].items()
            if (was := before[section].get(name, missing.get(name))) != value
        ]
        if changed:
            raise InputError(
                f"{out}: this run was started with other settings "
                f"({', '.join(changed)}); remove it or take another --out"
            )
    elif strange := sorted(p.name for p in out.iterdir() if not p.name.startswith(".")):
        raise InputError(
            f"{out}: holds something that is no run ({strange[0]}, no config.yaml); take another "
            "--out"
        )
    write_text(path, yaml.safe_dump(now, allow_unicode=True, sort_keys=False))


class _Plain(yaml.SafeLoader):
    """Without aliases: a few lines of them stand for more than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias, which no run writes")
        return super().compose_node(parent, index)


def read_settings(path: Path, sections: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Those sections of a run's config.yaml. Raises InputError where it is damaged."""
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), _Plain)  # safe: no tag makes an object
        return {name: dict(found[name]) for name in sections}
    except Exception as error:  # a wrong value of a standard tag makes PyYAML raise nearly anything
        line = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{path}: damaged ({line}); remove the run's folder to start anew"
        ) from None


class MetricsFile:
    """metrics.jsonl: a line of numbers every so many steps."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, done: int) -> None:
        """Drops a torn last line, and those past step `done`, which a resumed run writes again."""
        kept = []
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except ValueError:  # the last line of a killed process
                    continue
                if row["step"] <= done:
                    kept.append(line)
        write_text(self.path, "".join(f"{line}\n" for line in kept))

    def add(self, step: int, values: dict[str, Any]) -> None:
        """Appends `values` (numbers or 0-d tensors) of a step."""
        row = {"step": step} | {name: round(float(v), 5) for name, v in values.items()}
        with self.path.open("a", encoding="utf-8") as f:
            f.write(json.dumps(row) + "\n")
