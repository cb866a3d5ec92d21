"""Print the oldest version of every dependency that pyproject.toml allows, as pip requirements; used by `make test-oldest`."""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
# Packages that need torch: their tests are skipped if it is not installed.
LEFT_OUT = {"torch", "triton", "torchdata", "megatron-core", "transformers", "accelerate", "lightning", "mixfast"}
# Tools whose versions do not affect the package.
TOOLS = {"mypy", "ruff", "clang-format", "cython-lint"}


def oldest() -> dict[str, str]:
    """Return the oldest allowed version of each package: the highest of its lower bounds in pyproject.toml."""
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
