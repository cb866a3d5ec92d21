"""Megatron-LM's greedy blending loop, compiled here with ``cc -O3``."""

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

name, job = "Megatron's loop, C -O3", "draws"

SOURCE = Path(__file__).with_suffix(".c")


def reason():
    """Return why this peer cannot run here, or None."""
    compiler = os.environ.get("CC", "cc").split()[0]
    return None if shutil.which(compiler) else f"there is no C compiler {compiler!r}"


def prepare(case):
    """The loop and its memory, for enough samples to time at any number of domains."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "blend.so")
        command = [*os.environ.get("CC", "cc").split(), "-O3", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
        subprocess.run(command, check=True)
        blend = ctypes.CDLL(str(library)).blend
    domains = len(case.weights)
    size = max(10_000, 5_000_000 // domains)
    weights = np.ascontiguousarray(case.weights)
    return blend, np.empty(size, np.int16), np.empty(size, np.int64), weights, np.empty(domains, np.int64)


def run(ready):
    """Domains of the samples."""
    blend, dataset, sample, weights, count = ready
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (dataset, sample, weights, count)]
    blend(*pointers[:3], ctypes.c_int32(len(weights)), ctypes.c_int64(len(dataset)), pointers[3])
    return dataset
