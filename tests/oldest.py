"""Print the oldest version of every dependency that pyproject.toml allows, as requirements of pip; for `make test-oldest`."""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
# What needs torch: the suite leaves its tests out where it is not installed.
LEFT_OUT = {"torch", "triton", "torchdata", "megatron-core", "transformers", "accelerate", "lightning", "mixfast"}
# Tools, whose own versions say nothing about the package.
TOOLS = {"mypy", "ruff", "clang-format", "cython-lint"}


def oldest() -> dict[str, str]:
    """The lowest version that some list of pyproject.toml needs, by package: the highest of its lower bounds."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    named = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    named += [one for extra, ones in extras.items() if extra != "bench" for one in ones]
    found: dict[str, str] = {}
    for requirement in named:
        name, lowest = re.match(r"([\w.-]+)(?:\[.*\])?(?:>=([\d.]+))?", requirement).groups()
        known = found.setdefault(name.lower(), lowest or "0")
        found[name.lower()] = max(known, lowest or "0", key=lambda version: [int(part) for part in version.split(".")])
    return {name: lowest for name, lowest in found.items() if name not in LEFT_OUT | TOOLS}


if __name__ == "__main__":
    for name, lowest in sorted(oldest().items()):
        print(f"{name}=={lowest}.*")
