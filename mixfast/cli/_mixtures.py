"""Files of mixtures: one gate for every command that takes one, whatever loader the file is written for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mixfast.cli import _inputs as inputs
from mixfast.cli import _options as shared

if TYPE_CHECKING:
    from mixfast.mixture import Mixture

KINDS = "a mixture of mixfast, or the file of a loader (levanter, megatron, olmix, ...)"


def add_domain_paths(group: shared.Group) -> None:
    """Add how the domains of a file are named that has paths in place of names."""
    group.add_argument(
        "--mixture-paths",
        metavar="PATTERN|FILE",
        help="for a mixture file that has paths: the pattern that they follow, such as /data/{domain}_text_document, or yaml or json "
        "of name: path; default: a domain is called by what differs in the paths",
    )


def given_mixture(args: argparse.Namespace) -> Mixture:
    """Return the mixture that the options of a command name."""
    paths: Any = args.mixture_paths
    if paths is not None and "{" not in paths:
        paths = inputs.document(paths, "name: path")
    return inputs.mixture(args.mixture, paths)
