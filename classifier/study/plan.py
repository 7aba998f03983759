"""A study -> its commands, and which one waits for which."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from classifier.study.grid import Data, Study
from classifier.study.records import words_of
from synth.errors import InputError

CUT = "cut"  # kind of the jobs that cut a scenario
# What a classifier's run is finished with, the page last. Where one is lacking, the same command
# makes it: at once, if it is only the page.
WRITTEN = ("metrics.json", "report.html")


@dataclass(frozen=True)
class Job:
    """One command."""

    name: str  # of its record and its log
    kind: str  # jobs of one kind take about the same time
    words: tuple[str, ...]  # script and arguments
    done: Path  # a file that stands only when the output is complete
    needs: tuple[str, ...] = ()  # names of the jobs whose output it reads
    beside: tuple[Path, ...] = ()  # further files that must stand too
    reads: tuple[Path, ...] = ()  # of the user's own

    @property
    def is_done(self) -> bool:
        return all(path.exists() for path in (self.done, *self.beside))

    @classmethod
    def training(
        cls, name: str, kind: str, words: Sequence[str], run: Path, needs: tuple[str, ...]
    ) -> Self:
        """Of a classifier, into the folder `run`."""
        *before, last = (run / file for file in WRITTEN)
        return cls(name, kind, tuple(words), last, needs, tuple(before))


@dataclass(frozen=True)
class Trained:
    """A run of the study, finished or to be."""

    data: str
    arm: str
    scenario_seed: int
    training_seed: int
    scenario: Path  # folder with groups.json, real, test
    run: Path  # the classifier's
    stores: tuple[Path, ...]
    job: str
    makers: tuple[str, ...]  # names of the jobs that made its stores


def plan(study: Study, out: Path) -> tuple[list[Job], list[Trained]]:
    """The jobs in an order that they could be done in one by one, and the runs.

    One training seed of all arms comes before the next, so that a study that is cut short compares
    all of them. Raises InputError where two of them would have one name or one output.
    """
    jobs: dict[str, Job] = {}
    trained: list[Trained] = []
    for name, data in study.data.items():
        for images, part in ((data.images, "whole"), (data.test_images, "whole_test")):
            if images is not None:
                _add(jobs, _import(name, images, data.import_options, part, out))
        scenario_seeds, training_seeds = study.seeds_of(name)
        for scenario_seed in scenario_seeds:
            for training_seed in training_seeds:
                for arm in study.arms_of(name):
                    trained.append(
                        _train(study, out, jobs, name, arm, scenario_seed, training_seed)
                    )
    by_output: dict[Path, Job] = {}
    for job in jobs.values():
        if (other := by_output.setdefault(job.done, job)) is not job:
            raise InputError(
                f"{other.name} and {job.name} would both make {job.done}; rename one of them"
            )
    return list(jobs.values()), trained


def _import(name: str, images: str, options: str, part: str, out: Path) -> Job:
    store = out / name / part
    words = ["import_data.py", images, *words_of(options), "--split", "train"]
    return Job(
        f"{name}-{part}",
        "import",
        (*words, "--workers", "1", "--out", str(store)),
        store / "store.json",
        reads=(Path(images),),
    )


def refuse_missing(study: Study, jobs: Sequence[Job], done: Collection[str]) -> None:
    """Raises InputError, saying the way out, where a job to be done lacks a user's file."""
    for job in jobs:
        lost = [path for path in job.reads if not path.exists()]
        if not lost or job.name in done:
            continue
        name, data = next((n, d) for n, d in study.data.items() if lost[0] in _files(d))
        way = f"or by --images {name}=PATH" if lost[0] == Path(data.images) else ""
        told = f"; {data.hint}" if data.hint else ""
        raise InputError(
            f"{lost[0]}: no such file or folder, for the data {name!r}: name another in the "
            f"--grid file {way}".rstrip()
            + told
        )


def _files(data: Data) -> list[Path]:
    """All that are named."""
    named = (data.images, data.test_images, data.truth, data.known)
    return [Path(file) for file in named if file is not None]


def _add(jobs: dict[str, Job], job: Job) -> str:
    if jobs.setdefault(job.name, job) != job:
        raise InputError(f"two commands would be called {job.name}; rename an arm, store or group")
    return job.name


def _train(
    study: Study,
    out: Path,
    jobs: dict[str, Job],
    name: str,
    arm_name: str,
    scenario_seed: int,
    training_seed: int,
) -> Trained:
    data, arm = study.data[name], study.arms[arm_name]
    folder = out / name / f"seed{scenario_seed}" / arm.cut
    prefix = f"{name}-seed{scenario_seed}-{arm.cut}"
    cut = _add(
        jobs,
        Job(
            f"{prefix}-cut",
            CUT,
            _cut_words(
                data, out / name / "whole", folder, dict(arm.images), arm.noise, scenario_seed
            ),
            folder / "groups.json",
            tuple(n for n in (f"{name}-whole", f"{name}-whole_test") if n in jobs),
            reads=tuple(Path(file) for file in (data.truth, data.known) if file),
        ),
    )
    makers = [_maker(study, jobs, folder, prefix, store, scenario_seed) for store in arm.stores]
    stores = tuple(_store(study, folder, store) for store in arm.stores)
    run = folder / "runs" / arm_name / f"seed{training_seed}"
    words = ["train_classifier.py", "--real", str(folder / "real")]
    words += ["--synth", *map(str, stores)] if stores else []
    words += ["--test", str(folder / "test"), "--out", str(run), "--seed", str(training_seed)]
    for options in (study.classifier, data.classifier, arm.options):
        words += words_of(options)
    job = _add(
        jobs,
        Job.training(
            f"{prefix}-{arm_name}-seed{training_seed}",
            f"{name} classifier",
            words,
            run,
            (cut, *makers),
        ),
    )
    return Trained(
        name,
        arm_name,
        scenario_seed,
        training_seed,
        folder,
        run,
        stores,
        job,
        tuple(_all_makers(jobs, makers)),
    )


def _cut_words(
    data: Data, whole: Path, out: Path, images: dict[str, int], noise: float | None, seed: int
) -> tuple[str, ...]:
    words = ["cut_scenario.py", "--whole", str(whole)]
    if data.test_names is not None:
        words += ["--test-names", data.test_names]
    else:
        words += ["--test", str(whole.with_name("whole_test"))]
    words += ["--out", str(out), "--groups", data.groups, "--seed", str(seed)]
    words += ["--images", json.dumps(images)] if images else []
    words += ["--noise", f"{data.noise if noise is None else noise:g}"]
    words += ["--known", data.known] if data.known else []
    words += ["--truth", data.truth] if data.truth else []
    return tuple(words)


def _maker(
    study: Study, jobs: dict[str, Job], folder: Path, prefix: str, store: str, seed: int
) -> str:
    maker = study.stores[store]
    before = [_maker(study, jobs, folder, prefix, other, seed) for other in maker.needs]
    places = {other: str(_store(study, folder, other)) for other in maker.needs}
    places |= {
        "real": str(folder / "real"),
        "out": str(folder / (maker.inside or store)),
        "seed": str(seed),
    }
    return _add(
        jobs,
        Job(
            f"{prefix}-{store}",
            store,
            tuple(maker.words(places)),
            _store(study, folder, store) / "store.json",
            (f"{prefix}-cut", *before),
        ),
    )


def _store(study: Study, folder: Path, store: str) -> Path:
    maker = study.stores[store]
    return folder / (maker.inside or store) / maker.makes


def _all_makers(jobs: dict[str, Job], names: list[str]) -> list[str]:
    """Those jobs and the makers that they need, each once."""
    found: dict[str, None] = {}
    for name in names:
        inner = [n for n in jobs[name].needs if jobs[n].kind != CUT]
        found |= dict.fromkeys([*_all_makers(jobs, inner), name])
    return list(found)
