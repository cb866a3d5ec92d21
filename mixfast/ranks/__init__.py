"""Compute the sums over a large table with many processes; rank 0 leads, all ranks sum.

A table that is stored as a folder of parts can be shared by many processes, its ranks, on one machine or many. Only rank 0 runs a
solver, prints and writes. The other ranks serve: they wait for a question, compute their part of a sum, and answer. Decisions are made in one
place, so a difference between the machines cannot make ranks take different ways or wait for each other.

Classes:

- `Ranks`: the protocol that a means of communication must have; four members.
- `OneRank`: this process alone.
- `TorchRanks`: a process group of torch.distributed (gloo or nccl).
- `MpiRanks`: a communicator of mpi4py.
- `Team`: what rank 0 asks the ranks with.

Functions: `run` leads from rank 0 while the others serve; `from_environment` joins the processes that torchrun has started; `led`
decorates functions that all ranks call.

torch and mpi4py are imported when they are needed, not with this module.

Read the files in this order: `_protocol` (the protocol, and one rank), `_torch`, `_mpi` (its adapters), `_wire` (questions and answers as bytes),
`_watch` (noticing a rank that has ended), `_hand` and `_talk` (operations that end when a rank is lost or a signal comes), `_team` (asking and serving), `_run` (what users call), `_environment` (the variables of torchrun).
"""

from mixfast.ranks._environment import from_environment
from mixfast.ranks._environment import rank_and_size as rank_and_size
from mixfast.ranks._mpi import MpiRanks
from mixfast.ranks._protocol import LeaderLost as LeaderLost
from mixfast.ranks._protocol import OneRank, Ranks
from mixfast.ranks._run import led as led
from mixfast.ranks._run import run
from mixfast.ranks._team import Team
from mixfast.ranks._torch import TorchRanks

__all__ = ["MpiRanks", "OneRank", "Ranks", "Team", "TorchRanks", "from_environment", "run"]
