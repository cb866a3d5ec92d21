"""Install a wheel into new environments that have no compiler, and run the demo there: `python tests/clean_room.py DIST [PYTHON ...]`.

Without names of interpreters, Python 3.11 to 3.14 are tried as far as they are on PATH. The environments hold what pip installs and nothing
else, PATH is theirs alone, and no variable of the caller is passed on.
"""

import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

USUAL = [f"python3.{minor}" for minor in range(11, 15)]
SETS = ("baseline", "avx2", "avx512")
# The name of the instruction set, and the same small problem for each of them.
SOLVE = """
import numpy as np, mixfast
from mixfast._engine.backend import rows
table = mixfast.ExpertTable.from_loglik(np.log(np.random.default_rng(0).dirichlet(np.ones(5), size=400)))
print(rows.isa(), *(round(share, 6) for share in mixfast.solve(table, tol=1e-9).mixture.weights))
"""


def version(python):
    """Major and minor version of an interpreter; None if there is no such interpreter or it does not start."""
    path = shutil.which(python)
    if path is None:
        return None
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def call(*command, folder, **variables):
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def try_out(python, dist):
    """Install the wheel for one interpreter, run the demo, and solve with each instruction set; return what is to be printed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call(shutil.which(python), "-m", "venv", folder / "room", folder=folder)
        binary = folder / "room" / "bin"
        (wheel,) = dist.glob(f"*{matching()}.whl")
        call(binary / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, folder=folder)
        installed = call(binary / "python", "-m", "pip", "list", "--format=freeze", folder=folder).split()
        packages = {line.partition("==")[0].lower() for line in installed} - {"pip", "setuptools"}
        if packages != {"mixfast", "numpy", "pyyaml"}:
            sys.exit(f"pip installed {sorted(packages)}, expected mixfast, numpy and pyyaml")
        (folder / "empty").mkdir()
        here = {"folder": folder / "empty", "PATH": str(binary)}
        shown = call(binary / "mixfast", "--version", **here).strip()
        call(binary / "mixfast", "demo", **here)
        solved = [call(binary / "python", "-c", SOLVE, MIXFAST_ISA=name, **here).split() for name in SETS]
        if len({tuple(shares) for _, *shares in solved}) != 1:
            sys.exit(f"the instruction sets disagree: {solved}")
        return (
            f"{shown}, Python {version(python)}: demo, and one solve each with {', '.join(name for name, *_ in solved)}"
        )


def matching():
    """The end of the platform tag of wheels for this machine."""
    return f"{'macosx_*' if sys.platform == 'darwin' else 'linux_*'}_{platform.machine()}"


def main():
    dist, *named = sys.argv[1:]
    pythons = [name for name in named or USUAL if version(name)]
    if missing := [name for name in named if name not in pythons]:
        sys.exit(f"there is no interpreter {', '.join(missing)}")
    for python in pythons or [sys.executable]:
        print(try_out(python, Path(dist).resolve()), flush=True)


if __name__ == "__main__":
    main()
