"""Mixtures in the files of Olmix, OLMo-core, RegMix and DoReMi, each by its name."""

from __future__ import annotations

from os import PathLike

from mixfast.mixture import Mixture
from mixfast.readers._read import read


def olmix(path: str | PathLike[str]) -> Mixture:
    """Read a proposal of Olmix (``*_optimal.json``) or the ``mix`` of its launch file (YAML, flat or nested).

    The share of a nested domain is the product of the weights along its path, and its name joins the names of the path by colons
    (allenai/olmix of 2026-03, ``flatten_mix``). Shares that do not sum to 1 are divided by their sum, with a warning.

    Parameters
    ----------
    path : path
        ``.json``: a list of ``{"domain": name, "weight": share}``; else YAML with a mapping ``mix``.

    Raises
    ------
    MixtureError
        If the file is of another kind, or its shares are invalid.
    """
    return read(path, "olmix").mixture


def olmo_core(path: str | PathLike[str]) -> Mixture:
    """Read the ``target_ratio`` of each of the ``sources`` of an OLMo-core ``SourceMixtureList`` (YAML, version 2.5).

    Recipes of olmo-cookbook, with the same list under ``dataset`` and ``name`` instead of ``source_name``, are read, too.
    A file of another kind is refused as in `olmix`.
    """
    return read(path, "olmo-core").mixture


def regmix(path: str | PathLike[str]) -> Mixture:
    """Read the ``train`` part of a mixture file of RegMix's TinyLlama code (YAML, 2024-10).

    Names keep their prefix ``train_``, like the columns of RegMix's csv files. Shares that do not sum to 1, as in two of its four published
    mixtures, are divided by their sum, with a warning, as its loader does.

    A file of another kind is refused as in `olmix`.
    """
    return read(path, "regmix").mixture


def doremi(path: str | PathLike[str]) -> Mixture:
    """Read the ``train_domain_weights`` of a domain configuration of DoReMi (JSON).

    A file of another kind is refused as in `olmix`.
    """
    return read(path, "doremi").mixture
