"""The processes of a run that torchrun or SLURM started; one, where nobody did."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

from synth.errors import InputError


@dataclass(frozen=True)
class Processes:
    """This process among all of the run."""

    rank: int = 0
    world: int = 1
    nodes: int = 1

    @classmethod
    def here(cls) -> Self:
        """Raises InputError where nodes have different numbers of processes."""
        if TorchElasticEnvironment.detect():
            found = TorchElasticEnvironment()
            rank, world = found.global_rank(), found.world_size()
            nodes = world // int(os.environ.get("LOCAL_WORLD_SIZE", world))
        elif SLURMEnvironment.detect():
            slurm = SLURMEnvironment()
            rank, world = slurm.global_rank(), slurm.world_size()
            nodes = int(os.environ.get("SLURM_NNODES", 1))
        else:
            return cls()
        if world % nodes:
            raise InputError(f"{world} processes on {nodes} nodes: not the same number on each")
        return cls(rank, world, nodes)

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def of_a_node(self) -> int:
        return self.world // self.nodes
