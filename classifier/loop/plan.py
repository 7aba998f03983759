"""The closed loop as commands, and which one waits for which."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from classifier.study.plan import Job
from classifier.study.records import values_of
from synth.alphabet import OTHER
from synth.errors import InputError
from synth.quota import write_quota

REAL, FONT, GAN, BOTH = "real", "font", "gan", "font_gan"  # arms: what a run is trained on
STORES = {REAL: (), FONT: (FONT,), GAN: (GAN,), BOTH: (FONT, GAN)}


@dataclass(frozen=True)
class Loop:
    """What is to be done. Everything that is made lies in `out`."""

    real: Path
    out: Path
    gan: Path | None = None  # finished GAN run
    seeds: int = 3  # training seeds of each arm
    options: tuple[str, ...] = ()  # of train_classifier.py, for every run
    fonts: tuple[Path, ...] = ()  # folders with more fonts
    test: Path | None = None  # measured by the final run alone
    allow_copies: bool = False  # there, of what is trained on
    without: tuple[str, ...] = ()  # names of fonts to leave out
    without_unread: Path | None = None  # file of check_fonts.py, see `leave_out_unread`

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise InputError(f"--seeds {self.seeds}: at least 1")

    @property
    def arms(self) -> tuple[str, ...]:
        return (REAL, FONT) if self.gan is None else (REAL, FONT, GAN, BOTH)

    @property
    def sources(self) -> tuple[str, ...]:
        return (FONT,) if self.gan is None else (FONT, GAN)

    @property
    def quota(self) -> Path:
        return self.out / "quota.csv"

    @property
    def alphabet(self) -> Path:
        """The real store's, for the GAN, whose own may be another."""
        return self.out / "alphabet.txt"

    @property
    def final_run(self) -> Path:
        return self.out / "final"

    def runs(self, arm: str) -> list[Path]:
        """The classifiers of an arm, a seed each."""
        return [self.out / "runs" / arm / f"seed{seed}" for seed in range(1, self.seeds + 1)]

    def store(self, source: str) -> Path:
        return self.out / "stores" / source

    def keep_quota(self, images: Mapping[str, int]) -> None:
        """Writes quota.csv. Raises InputError where a store was made by another one."""
        before = self.quota.read_bytes() if self.quota.is_file() else None
        made = [s for s in map(self.store, self.sources) if (s / "store.json").is_file()]
        part = self.quota.with_name("quota.csv.new")
        write_quota(part, images)
        if before is not None and made and part.read_bytes() != before:
            raise InputError(
                f"{made[0]}: was made by {self.quota}, and now another quota ({part.name}) comes "
                "out; take another --out"
            )
        part.replace(self.quota)

    def real_jobs(self) -> list[Job]:
        return self._train(REAL)

    def jobs(self) -> list[Job]:
        """Those of the verdict, in an order that they could be done in one by one. All arms of a
        seed come before the next seed."""
        first = self.real_jobs()
        makers = [self._render(), *([self._generate()] if self.gan else [])]
        arms = [self._train(arm) for arm in self.arms if arm != REAL]
        return [*first, *makers, *(job for jobs in zip(*arms, strict=True) for job in jobs)]

    def final(self, off: Mapping[str, Mapping[str, float]]) -> Job:
        """`off`: see `verdict.switched_off`."""
        words = self._words(self.sources, self.final_run, 1)
        if off:
            # as it stands: YAML, which reads the option, knows no surrogate pairs
            words += ["--source-weights", json.dumps(off, ensure_ascii=False)]
        words += ["--test", str(self.test)] if self.test else []
        words += ["--allow-copies"] if self.test and self.allow_copies else []
        needs = tuple(job.name for job in self.jobs())
        return Job.training("final", "classifier", words, self.final_run, needs)

    def _train(self, arm: str) -> list[Job]:
        # the seeds of an arm are several networks already; the final run has the preset's number
        named = any(word.split("=")[0] == "--members" for word in self.options)
        single = () if named else ("--members", "1")
        return [
            Job.training(
                f"{arm}-seed{seed}",
                "classifier",
                (*self._words(STORES[arm], run, seed), *single),
                run,
                STORES[arm],  # the makers' names
            )
            for seed, run in enumerate(self.runs(arm), 1)
        ]

    def _words(self, sources: tuple[str, ...], run: Path, seed: int) -> list[str]:
        words = ["train_classifier.py", "--real", str(self.real)]
        words += ["--synth", *(str(self.store(s)) for s in sources)] if sources else []
        return [*words, "--out", str(run), "--seed", str(seed), *self.options]

    def _render(self) -> Job:
        return self._maker(FONT, ("render_fonts.py", "--real", str(self.real)))

    def _generate(self) -> Job:
        words = ("train_gan.py", "--generate-only", "--run", str(self.gan))
        return self._maker(GAN, (*words, "--alphabet", str(self.alphabet)))

    def _maker(self, source: str, words: tuple[str, ...]) -> Job:
        store = self.store(source)
        words += ("--quota", str(self.quota), "--out", str(store))
        words += ("--fonts", *map(str, self.fonts)) if self.fonts else ()
        words += ("--without", *self.without) if self.without else ()
        words += ("--without-unread", str(self.without_unread)) if self.without_unread else ()
        needs = tuple(job.name for job in self.real_jobs())  # the quota comes of their answers
        return Job(source, source, words, store / "store.json", needs)


def split_options(text: str, steps: int | None, preset: str | None) -> tuple[str, ...]:
    """Options of train_classifier.py in one line -> words. Raises InputError for a torn quote, and
    for options that the loop itself sets."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"--classifier {text!r}: {str(error).lower()}") from None
    own = {"--real", "--synth", "--out", "--seed", "--test", "--source-weights", "--allow-copies"}
    if taken := sorted(own & {word.split("=")[0] for word in words}):
        raise InputError(f"--classifier: {taken[0]} is set by the loop itself")
    for flag in ("--group-weights", "--class-weights"):
        # the arms without synthetic images would take it, the others refuse it hours later
        if any(OTHER in given for given in values_of(words, flag)):
            raise InputError(
                f"--classifier: {flag} with {OTHER!r}: where there are synthetic images "
                "--other-share alone decides how often it is shown"
            )
    for name, value in (("--preset", preset), ("--steps", steps)):
        words += [name, str(value)] if value is not None else []
    return tuple(words)
