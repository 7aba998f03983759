"""The further networks of a run: trained like the first one, from other starts.

On a CPU they train side by side, each in a process of its own with its part of the threads: two
networks on one thread each take less time than two one after the other on two (docs/LOG.md). On a
GPU, in a run of several processes, and where there are fewer threads than networks, they train one
after the other.
"""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from classifier.config import ClassifierConfig
from classifier.export import write_weights
from classifier.fit import fit
from classifier.networks import Ensemble
from classifier.processes import Processes
from classifier.setup import Setup, prepare
from synth.errors import InputError
from synth.store import Store
from synth.workers import end_with_parent

NAME = "average.safetensors"  # of a finished member, in its folder


@dataclass(frozen=True)
class Members:
    """The second network of a run and those after it. The first one is the run's own."""

    real: Path
    synth: tuple[Path, ...]
    out: Path  # the run's folder; theirs are out/members/2 and so on
    config: ClassifierConfig
    seed: int  # of the run
    corrections: Path | None
    # of the first network, which the others are averaged with
    contents: tuple[str, ...]  # of its stores, the real one first, see Store.content
    decided: str  # digest of its corrections

    @property
    def threads(self) -> int:
        """Of each network, where they are trained side by side; 0: they are not."""
        several = self.config.members > 1
        if not several or torch.cuda.is_available() or Processes.here().world > 1:
            return 0
        return torch.get_num_threads() // self.config.members

    @property
    def missing(self) -> list[int]:
        numbers = range(2, self.config.members + 1)
        return [number for number in numbers if not (self._folder(number) / NAME).is_file()]

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """They train while the block does, where they can. The block has its part of the threads,
        even where no other is left to train: sums in another order would give other weights than
        a run without a break. Its end waits for them. One that fails (killed, for two need twice
        the memory) says so and is left to `train_missing`, where it goes on at its last
        checkpoint."""
        if not self.threads:
            yield
            return
        whole, missing = torch.get_num_threads(), self.missing
        if missing:
            print(
                f"{self.config.members} networks side by side, {self.threads} of {whole} threads "
                "each; the bar is of the first",
                flush=True,
            )
        context = multiprocessing.get_context("spawn")
        started: dict[int, BaseProcess] = {}
        try:
            for number in missing:
                started[number] = context.Process(target=_beside, args=(self, number, self.threads))
                started[number].start()
            torch.set_num_threads(self.threads)
            yield
            if behind := [number for number in started if started[number].is_alive()]:
                print(f"waiting for network {', '.join(map(str, behind))}", flush=True)
            self._wait(started)
        finally:
            torch.set_num_threads(whole)
            for process in started.values():
                process.terminate()
                process.join()

    def _wait(self, started: dict[int, BaseProcess]) -> None:
        waiting = {process.sentinel: number for number, process in started.items()}
        while waiting:
            for sentinel in wait(list(waiting)):
                assert isinstance(sentinel, int)  # as all that were waited for
                number = waiting.pop(sentinel)
                started[number].join()
                if not (self._folder(number) / NAME).is_file():
                    log = self._folder(number) / "log.txt"
                    lines = log.read_text(encoding="utf-8").split("\n") if log.is_file() else []
                    last = next((line for line in reversed(lines) if line.strip()), "no word")
                    print(
                        f"network {number} of {self.config.members} stopped: {last.strip()} "
                        f"({log}); it will be trained alone",
                        flush=True,
                    )

    def train_missing(self) -> None:
        """Those that did not train beside the first, one after the other; each with the threads
        that it has, or would have had, beside the others."""
        whole = torch.get_num_threads()
        torch.set_num_threads(self.threads or whole)
        try:
            for number in self.missing:
                if Processes.here().first:
                    print(f"network {number} of {self.config.members}", flush=True)
                self._train(number, self.config)
        finally:
            torch.set_num_threads(whole)

    def joined(self, first: nn.Module) -> nn.Module:
        """The run's first network and the finished others as one. Raises InputError where one of
        them cannot be read."""
        networks = [first]
        for number in range(2, self.config.members + 1):
            network, path = copy.deepcopy(first), self._folder(number) / NAME
            try:
                network.load_state_dict(load_file(path))
            except (SafetensorError, RuntimeError, OSError) as error:
                line = " ".join(str(error).split())[:200]
                raise InputError(f"{path}: damaged ({line}); remove it to train it anew") from None
            networks.append(network)
        return Ensemble(networks) if len(networks) > 1 else first

    def _folder(self, number: int) -> Path:
        return self.out / "members" / str(number)

    def _train(self, number: int, config: ClassifierConfig, bar: bool = True) -> None:
        folder = self._folder(number)
        folder.mkdir(parents=True, exist_ok=True)
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        setup = self._setup(seed)
        processes = Processes.here()
        module = fit(setup, folder, config, seed, processes, bar=bar).module
        if processes.first:
            write_weights(folder / NAME, module.average.module)

    def _setup(self, seed: int) -> Setup:
        """Read anew, hours later perhaps. Raises InputError where that is no more what the first
        network learned."""
        stores = [Store.open(path) for path in (self.real, *self.synth)]
        for store, content in zip(stores, self.contents, strict=True):
            self._require_same(str(store.path), content, store.content)
        setup = prepare(stores[0], stores[1:], self.config, seed, None, self.corrections)
        read = setup.corrections.digest
        self._require_same(f"--corrections {self.corrections}", self.decided, read)
        return setup

    def _require_same(self, what: str, begun: str, now: str) -> None:
        if now != begun:
            raise InputError(
                f"{what}: changed since the first network of {self.out} was trained "
                f"({begun or 'none'} -> {now or 'none'}); put it back, or remove that folder"
            )


def _beside(members: Members, number: int, threads: int) -> None:
    """A process of its own: its words go to a file, and it ends when the first network's ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is left to the parent
    end_with_parent()
    folder = members._folder(number)
    folder.mkdir(parents=True, exist_ok=True)
    log = (folder / "log.txt").open("w", encoding="utf-8", buffering=1)  # until the process ends
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log
    torch.set_num_threads(threads)
    members._train(number, replace(members.config, threads=1), bar=False)
