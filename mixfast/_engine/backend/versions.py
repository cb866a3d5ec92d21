"""What an answer may depend on besides its input: versions, the compiled core, threads and GPUs."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from mixfast._engine.backend.threads import available_cpus, thread_count
from mixfast._version import __version__

# Packages that mixfast needs or uses if they are installed, by their names in the registry.
_PACKAGES = (
    *("numpy", "pyyaml", "scipy", "lightgbm", "numba", "threadpoolctl", "scikit-learn", "torch", "triton", "transformers", "cvxpy", "clarabel"),
    *("pyarrow", "zstandard", "matplotlib", "pandas", "polars", "datasets", "accelerate", "lightning", "tqdm", "shtab"),
)  # fmt: skip
_VARIABLES = ("MIXFAST_NUM_THREADS", "MIXFAST_ISA", "MIXFAST_TRACEBACK", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
# Without its driver no GPU can be used, and torch, which takes seconds to load, need not be asked.
_DRIVER = Path("/proc/driver/nvidia/version")


def versions() -> dict[str, dict[str, str | None]]:
    """Return versions and facts in the sections "mixfast", "system", "packages" and "environment".

    A package that is not installed, and a variable that is not set, is None.
    """
    return {
        "mixfast": {
            "version": __version__,
            "core": _core(),
            "threads": f"{thread_count(None)} of {available_cpus()} CPUs",
            "gpu": _gpu(),
            "folder": str(Path(__file__).resolve().parents[2]),
        },
        "system": {
            "python": sys.version.replace("\n", " "),
            "executable": sys.executable,
            "platform": platform.platform(),
            "machine": platform.machine(),
            "locale": f"{sys.getfilesystemencoding()}, stdout {getattr(sys.stdout, 'encoding', None)}",
        },
        "packages": {name: _version(name) for name in _PACKAGES},
        "environment": {name: os.environ.get(name) for name in _VARIABLES},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _core() -> str:
    """Return the instruction set that the compiled core has chosen, and what it was built for."""
    try:
        from mixfast._engine.backend import rows
    except ImportError as problem:
        return f"missing: {problem}"
    built = Path(str(rows.__file__)).name.split(".")[1]
    return f"{rows.isa()}, built for {built}"


def _gpu() -> str:
    if not _DRIVER.exists():
        return "none"
    try:
        import torch
    except ImportError:
        return "not used: torch is not installed"
    except OSError as problem:
        return f"not used: torch cannot be loaded ({problem})"
    if not torch.cuda.is_available():
        return f"not used: torch {torch.__version__} finds none"
    names = [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]
    return f"{', '.join(names)}; CUDA {torch.version.cuda}"
