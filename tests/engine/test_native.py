"""The C core without Python: native/check.c, built and run for this processor and for an emulated Arm processor."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent / "native"
ROOT = FOLDER.parent.parent.parent
# The flags of setup.py, except for the optimisation: with -O1 rows.c, the largest file, takes 15 s, without it 4 s. All other tests use an optimised core.
FLAGS = ["-std=gnu11", "-O0", "-ffp-contract=fast", "-fno-math-errno", "-pthread"]

pytestmark = pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="the C files are not beside the tests")


def build(compiler, out, *flags):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    sources = sorted((ROOT / "csrc").glob("*/*.c"))
    command = [compiler, *FLAGS, *flags, FOLDER / "check.c", *sources, "-lm", "-o", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def run(*command, **environment):
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout[:3000] + done.stderr[:3000]
    return done.stdout


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    return build("cc", tmp_path_factory.mktemp("native") / "check")


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_the_c_core_gives_the_known_values(check, isa):
    assert run(check, MIXFAST_ISA=isa).endswith(": 0 wrong\n")


@pytest.mark.process
def test_the_c_core_gives_the_known_values_on_arm(tmp_path):
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("qemu-aarch64 is not installed (Debian: qemu-user)")
    check = build("aarch64-linux-gnu-gcc", tmp_path / "check", "-static")
    assert run("qemu-aarch64", check, LD_PRELOAD="") == "baseline: 0 wrong\n"


def test_the_known_values_are_those_of_numpy():
    spec = importlib.util.spec_from_file_location("known", FOLDER / "known.py")
    known = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(known)
    written, made = (FOLDER / "known.h").read_text(), known.header()
    number = re.compile(r"-?\d+\.\d+(?:e[-+]\d+)?")
    assert number.sub("0", written) == number.sub("0", made)
    numbers = [np.array([float(found) for found in number.findall(text)]) for text in (written, made)]
    np.testing.assert_allclose(*numbers, rtol=1e-12, atol=1e-14)
