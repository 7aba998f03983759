"""What a study compares, from one YAML file.

    data:                       # complete, clean sets of images that scenarios are cut from
      hwdb99:
        images: hwdb99.zip      # as import_data.py takes them
        test_names: test_       # files whose names start so are for testing; or, in its place,
        test_images: null       # a set of their own
        truth: null             # CSV of what each file shows, where labels are not right
        hint: ""                # where the images come from, told where they are missing
        import_options: ""      # further options of import_data.py
        groups: common:40:100,rare:20:20,few:10:5,other_seen:10:8,other_unseen:19:0
        noise: 0.11             # share of wrong training labels
        known: null             # file of the characters that may be known ones
        classifier: ""          # options, after the study's own
        arms: null              # names; null: all
        scenario_seeds: null    # null: the study's
        training_seeds: null
    scenario_seeds: [1, 2]
    training_seeds: [1, 2, 3]
    classifier: --steps 900     # options of every arm's train_classifier.py
    stores:                     # commands that make synthetic stores, once for each scenario
      font: render_fonts.py --real {real} --out {out} --seed {seed}
      gan: {command: "train_gan.py --real {real} --out {out} --seed {seed}", makes: samples}
    arms:
      real: {title: real images only}
      fonts: {stores: [font], options: --synthetic-cap 0.5}
      oracle: {images: {rare: 100, few: 100}}       # another cut of the same scenario
      clean: {noise: 0}
    compare: ...                # see `Compare`

In a command {real} is the scenario's real store, {out} the folder to make, {seed} the scenario's
seed, and a name of `stores` that store. `inside: gan` has a command work in the folder of `gan`.
No store is called real, out, seed, test, runs or cut: those are taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import yaml

from classifier.study.checks import OWN, check
from classifier.study.records import fits, make, words_of
from synth.errors import InputError

_PLACES = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Data:
    """A complete set of images."""

    images: str
    groups: str
    test_names: str | None = None
    test_images: str | None = None
    truth: str | None = None
    hint: str = ""
    import_options: str = ""
    noise: float = 0.11
    known: str | None = None
    classifier: str = ""
    arms: tuple[str, ...] | None = None
    scenario_seeds: tuple[int, ...] | None = None
    training_seeds: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Maker:
    """A command that makes a synthetic store."""

    command: str  # script and arguments, as typed
    makes: str = ""  # the store, inside {out}; "": {out} itself
    inside: str = ""  # another store, whose {out} is this one's too

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the stores that it reads."""
        read = [n for n in _PLACES.findall(self.command) if n not in OWN]
        return tuple(dict.fromkeys([*read, *([self.inside] if self.inside else [])]))

    def words(self, places: Mapping[str, str]) -> list[str]:
        """The command line, its places filled."""
        return [_PLACES.sub(lambda m: places[m[1]], word) for word in words_of(self.command)]


@dataclass(frozen=True)
class Arm:
    """A way to train, on a cut of the scenario."""

    title: str = ""  # in tables; "": its name
    stores: tuple[str, ...] = ()
    options: str = ""  # of train_classifier.py, after the study's own
    images: Mapping[str, int] = field(default_factory=dict)  # group -> training images a class
    noise: float | None = None  # None: the data's

    @property
    def cut(self) -> str:
        """The name of its cut of the scenario."""
        parts = [f"{g}{n}" for g, n in sorted(self.images.items())]
        parts += [] if self.noise is None else [f"noise{self.noise:g}"]
        return "-".join(parts) or "base"


@dataclass(frozen=True)
class Curve:
    """A figure of several arms over a number."""

    title: str
    x: str  # what the number is
    figure: str
    lines: Mapping[str, Mapping[float, str]]  # name -> number -> arm


@dataclass(frozen=True)
class Worth:
    """How many real images of a class the synthetic ones are worth."""

    group: str  # whose accuracy is looked at
    real: Mapping[
        float, str
    ]  # real images of each class of the group -> arm without synthetic ones
    arms: Mapping[str, float]  # arm with synthetic images -> real images of each class that it has


@dataclass(frozen=True)
class Compare:
    """What is set against what."""

    baseline: str  # arm that all others are compared with, seed by seed
    oracle: str | None = None  # arm that gets the real images that the baseline lacks
    gap: tuple[str, ...] = ()  # groups whose gap between baseline and oracle is to be closed
    gaps: Mapping[str, str] = field(default_factory=dict)  # further baselines -> their oracles
    worth: tuple[Worth, ...] = ()
    curves: tuple[Curve, ...] = ()


@dataclass(frozen=True)
class Study:
    """All of the YAML file."""

    data: Mapping[str, Data]
    arms: Mapping[str, Arm]
    compare: Compare
    stores: Mapping[str, Maker] = field(default_factory=dict)
    scenario_seeds: tuple[int, ...] = (1,)
    training_seeds: tuple[int, ...] = (1,)
    classifier: str = ""
    title: str = "Do synthetic characters help?"
    note: str = ""  # what a reader must know of the data

    @classmethod
    def read(cls, path: Path) -> Self:
        """Paths of images are from where the command is called. Raises InputError, naming the
        place, for what no study could run on."""
        try:
            raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read ({error})") from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:  # a 31st of June, say
            raise InputError(f"{path}: no YAML ({' '.join(str(error).split())})") from None
        raw = fits(cls, raw, str(path))
        stores = raw.get("stores") or {}
        if not isinstance(stores, dict):
            raise InputError(f"{path}: stores: wanted name: command, got {stores!r}")
        makers = {n: {"command": m} if isinstance(m, str) else m for n, m in stores.items()}
        raw["stores"] = {n: make(Maker, m, f"{path}: stores: {n}") for n, m in makers.items()}
        for key, kind in (("data", Data), ("arms", Arm)):
            if not isinstance(raw[key], dict) or not raw[key]:
                raise InputError(f"{path}: {key}: wanted at least one, name: {{...}}")
            raw[key] = {n: make(kind, v or {}, f"{path}: {key}: {n}") for n, v in raw[key].items()}
        compare = fits(Compare, raw["compare"], f"{path}: compare")
        for key, kind in (("worth", Worth), ("curves", Curve)):
            found = compare.get(key) or []
            if not isinstance(found, list):
                raise InputError(f"{path}: compare: {key}: wanted a list, got {found!r}")
            compare[key] = [make(kind, v, f"{path}: compare: {key}") for v in found]
        study = make(cls, raw | {"compare": make(Compare, compare, str(path))}, str(path))
        check(study, path)
        return study

    def with_images(self, places: Sequence[str]) -> Self:
        """With other places of images, NAME=PATH each. Raises InputError for what is none."""
        data = dict(self.data)
        for given in places:
            name, is_one, path = given.partition("=")
            if not is_one or not path:
                raise InputError(f"--images {given}: wanted NAME=PATH")
            if name not in data:
                raise InputError(f"--images {given}: the study has {', '.join(data)}")
            data[name] = replace(data[name], images=path)
        return replace(self, data=data)

    def arms_of(self, data: str) -> tuple[str, ...]:
        return self.data[data].arms or tuple(self.arms)

    def seeds_of(self, data: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of its scenarios, and of training in each."""
        mine = self.data[data]
        return (
            mine.scenario_seeds or self.scenario_seeds,
            mine.training_seeds or self.training_seeds,
        )
