"""A finished run read back from its folder, and what a second person needs to make it again."""

from __future__ import annotations

import json
import math
import platform
import shlex
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from synth.alphabet import Alphabet
from synth.errors import InputError
from synth.store import Store

SOURCE = Path(__file__).resolve().parents[1]  # a checkout, or where packages are installed
_ANEW = "remove the run's metrics.json, and the command that trained it writes its end anew"
SWITCHES = ("allow_copies",)  # options without a value
PACKAGES = (
    "inkfill",
    "torch",
    "torchvision",
    "efficientnet-pytorch",
    "timm",
    "pytorch-lightning",
    "nvidia-dali-cuda130",
    "nvidia-dali-cuda120",
    "nvidia-dali-cuda110",
    "albumentations",
    "numpy",
    "scipy",
    "pillow",
    "freetype-py",
    "pyarrow",
)


@dataclass(frozen=True)
class Answers:
    """predictions_<split>.parquet: what a run answered to each image."""

    row: np.ndarray  # [N] int64 rows of the store
    target: np.ndarray  # [N] int64, the last class is "other"
    answer: np.ndarray  # [N] int64
    score: np.ndarray  # [N] float32 other score
    confidence: np.ndarray  # [N] float32 of the most probable known character
    second: np.ndarray  # [N] int64 the next most probable known character

    @property
    def right(self) -> np.ndarray:
        return self.answer == self.target

    def sure(self, known: int) -> np.ndarray:
        """[N]: how sure the answer is; for "other" the other score."""
        return np.where(self.answer == known, self.score, self.confidence)


@dataclass(frozen=True)
class Finished:
    """A finished run, read back from its folder."""

    path: Path
    name: str  # what the report calls it
    figures: dict[str, Any]  # metrics.json
    model: dict[str, Any]  # model.json
    steps: list[dict[str, float]]  # metrics.jsonl
    mix: str  # as planned at the start

    @classmethod
    def open(cls, path: Path, name: str) -> Finished:
        """Raises InputError for a folder that holds no finished run, or a damaged one."""
        for needed in ("model.json", "metrics.json"):
            if not (path / needed).is_file():
                raise InputError(f"{path}: no finished run (no {needed} in it)")
        lines, mix = path / "metrics.jsonl", path / "mix.txt"
        text = _text(lines) if lines.is_file() else ""
        return cls(
            path,
            name,
            read_json(path / "metrics.json"),
            read_json(path / "model.json"),
            # what draws curves only
            [_object(line, lines, "remove that line") for line in text.splitlines()],
            mix.read_text(encoding="utf-8") if mix.is_file() else "",
        )

    @property
    def alphabet(self) -> Alphabet:
        return Alphabet(tuple(self.model["alphabet"]))

    @property
    def info(self) -> dict[str, Any]:
        return self.model["info"]

    def answers(self, split: str) -> Answers | None:
        path = self.path / f"predictions_{split}.parquet"
        if split not in self.figures or not path.is_file():
            return None
        table = pq.read_table(path)
        return Answers(*(table.column(n).to_numpy() for n in Answers.__dataclass_fields__))

    def store(self, path: str) -> Store | None:
        """The store, named from where the run was started or above the run; None: moved, remade."""
        for place in (Path(), *self.path.resolve().parents):
            if (place / path / "store.json").is_file():
                store = Store.open(place / path)
                return store if store.alphabet == self.alphabet else None
        return None


def is_finished(out: Path) -> bool:
    """Whether a run in that folder has ended: after its figures comes only the page of them."""
    return (out / "metrics.json").is_file()


def read_json(path: Path) -> dict[str, Any]:
    """A file of a finished run. Raises InputError where it is damaged."""
    return _object(_text(path), path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None


def _object(text: str, path: Path, advice: str = _ANEW) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"{error} in {text[:40]!r}", advice) from None
    if not isinstance(found, dict):
        raise _damaged(path, f"no JSON object: {text[:40]!r}", advice)
    return found


def _damaged(path: Path, why: object, advice: str = _ANEW) -> InputError:
    return InputError(f"{path}: damaged ({' '.join(str(why).split())[:200]}); {advice}")


def facts(run: Finished) -> list[tuple[str, str]]:
    """What a reader wants to know first about how the model came about."""
    config, figures = run.info["config"], run.figures
    shown = config["steps"] * config["batch_size"]
    chosen = figures.get("validation") or {}
    members = config.get("members", 1)
    several = f" x {members}, their probabilities averaged" if members > 1 else ""
    rows = [
        ("Network", f"{run.model['model']}{several}, {config['precision']}"),
        ("Alphabet", f"{len(run.alphabet)} characters and other, {run.model['digest']}"),
        ("Training", f"{config['steps']:,} steps of {config['batch_size']} = {shown:,} images"),
        ("Time", _time(figures)),
        *_ended(run),
        ("Threshold of the other score", f"{figures['threshold']:.3f}"),
        *_doubted(config, figures),
    ]
    if chosen:
        rates = (f"{name.replace('_', ' ')} {100 * rate:.1f} %" for name, rate in chosen.items())
        several = "those thresholds when they were" if figures.get("thresholds") else ""
        name = f"Rates at {several or 'that threshold when it was'} set"
        rows.append((name, ", ".join(rates)))
    return rows


def _time(figures: dict[str, Any]) -> str:
    """How long training took; of a resumed run that is known of its last part alone."""
    minutes, seconds = divmod(round(figures["seconds"]), 60)
    told = f"{minutes} min {seconds} s"
    if first := figures.get("since_step", 0):
        told += f" since step {first:,}, where it went on"
    if first >= figures.get("steps", math.inf):  # it had been trained, only its end was missing
        return told
    return f"{told}, {figures['images_per_second']:,} images/s"


def _doubted(config: dict[str, Any], figures: dict[str, Any]) -> list[tuple[str, str]]:
    """What is not as usual about the threshold."""
    rows = []
    if config.get("other_score", "norms") != "norms":
        rows.append(("The other score", config["other_score"]))
    if by_group := figures.get("thresholds"):
        told = ", ".join(f"{group} {value:.3f}" for group, value in by_group.items())
        rows.append(("Thresholds by group", told))
    if figures.get("threshold_doubt"):
        rows.append(("About the threshold", figures["threshold_doubt"]))
    return rows


def _ended(run: Finished) -> list[tuple[str, str]]:
    """What is not as in every run: an early end, the best weights, where it started."""
    config, figures, info = run.info["config"], run.figures, run.info
    rows = []
    if figures.get("steps", config["steps"]) < config["steps"]:
        rows.append(("Stopped", f"after {figures['steps']:,} steps: it got no better"))
    if best := figures.get("best"):
        told = f"of step {best['step']:,}, {best['figure']} {100 * best['value']:.1f} %"
        rows.append(("Weights", told))
    for name, key in (("Started from", "pretrained"), ("Labels decided by hand", "corrections")):
        if info.get(key):
            rows.append((name, info[key]))
    if info.get("processes", 1) > 1:
        rows.append(("Processes", str(info["processes"])))
    return rows


def repeat(run: Finished, stores: list[Store]) -> dict[str, Any]:
    """All that a second person needs to make this run again."""
    info = run.info
    words = [_started(info)]
    for key, value in info["arguments"].items():
        flag = f"--{key.replace('_', '-')}"
        if isinstance(value, list):
            words += [f"{flag} {' '.join(map(_quoted, value))}"] if value else []
        elif key in SWITCHES:
            words += [flag] if value else []
        elif value is not None:
            words.append(f"{flag} {_quoted(value)}")
    return {
        "command": " \\\n    ".join(words),
        "seed": info["seed"],
        "config": info["config"],
        # the run's own, where it wrote them down; a report of its end sees the same
        "versions": info.get("versions") or versions(),
        "stores": [_store_facts(s) for s in stores],
    }


def _started(info: dict[str, Any]) -> str:
    """What stood before the options: python, or torchrun for a run of several processes."""
    world, nodes = info.get("processes", 1), info.get("nodes", 1)
    if world == 1:
        return "python scripts/train_classifier.py"
    of_nodes = f"--nnodes {nodes} " if nodes > 1 else ""
    return f"torchrun {of_nodes}--nproc-per-node {world // nodes} -- scripts/train_classifier.py"


def _quoted(value: Any) -> str:
    return shlex.quote(str(value))


def _store_facts(store: Store) -> dict[str, Any]:
    notes = store.info["notes"]
    small = {k: v for k, v in notes.items() if isinstance(v, int | float | str)}
    counted = {k: len(v) for k, v in notes.items() if isinstance(v, list | dict) and k != "style"}
    return {
        "path": str(store.path),
        "source": str(store.column("source")[0]),
        "counts": {k: sum(v.values()) for k, v in store.info["counts"].items()},
        "digest": store.alphabet.digest,
        "content": store.content,
        "made": json.dumps(
            {"made": store.info["made"], "notes": small, "numbers of": counted},
            ensure_ascii=False,
            indent=1,
        ),
    }


def versions() -> dict[str, str]:
    """Package -> version, here and now; in a checkout of git its commit too."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if commit := _commit():
        found["git"] = commit
    return found


def _commit() -> str:
    """Of the checkout that this file is in, "" where it is in none; "+" says that files differ."""
    if not (SOURCE / ".git").exists():
        return ""
    call = ["git", "--no-optional-locks", "-C", str(SOURCE)]
    try:
        parts = [
            subprocess.run([*call, *words], capture_output=True, text=True, timeout=20, check=True)
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "-uno"))
        ]
    except (OSError, subprocess.SubprocessError):  # no git, or it refuses another user's checkout
        return ""
    commit, changed = (part.stdout.strip() for part in parts)
    return commit + ("+" if changed else "")
