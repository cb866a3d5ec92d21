"""The contents of the wheel and the sdist, and an installed wheel that works outside the source folder.

MIXFAST_DIST names a folder that holds an sdist of this source tree and wheels, one of them for this machine. Without it, both are
built here.
"""

import fcntl
import os
import platform
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parent.parent

# The compiled core: one module for each folder of csrc with a .pyx file of the same name.
LIBRARIES = ["laws", "rows", "simplex", "stream"]

# Each takes up to seconds to import. None may be in sys.modules after `import mixfast`.
HEAVY = [
    "cvxpy",
    "lightgbm",
    "matplotlib",
    "numba",
    "pandas",
    "pyarrow",
    "scipy",
    "sklearn",
    "torch",
    "transformers",
    "triton",
]


def run(*command, cwd, **environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MIXFAST_"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**kept, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(
            f"{command} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}", pytrace=False
        )
    return done.stdout


@pytest.fixture(scope="session")
def dist(tmp_path_factory):
    """Return a folder with one sdist, and a wheel for this machine."""
    given = os.environ.get("MIXFAST_DIST")
    if given:
        return Path(given).resolve()
    pytest.importorskip("build", reason="building a wheel needs the package build: pip install 'mixfast[dev]'")
    pytest.importorskip("Cython", reason="building a wheel needs Cython: pip install 'mixfast[dev]'")
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent  # of all processes of this run: what one has built the others take
    with (place / "dist.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "dist").exists():
            run(sys.executable, "-m", "build", "--no-isolation", "--outdir", place / "building", ROOT, cwd=place)
            (place / "building").rename(place / "dist")
    return place / "dist"


@pytest.fixture(scope="session")
def wheel(dist):
    """The wheel for this machine."""
    (path,) = (path for path in dist.glob("*.whl") if path.stem.endswith(f"_{platform.machine()}") and matches(path))
    return path


def matches(wheel):
    """Whether a wheel is for this operating system."""
    return ("macosx" if sys.platform == "darwin" else sys.platform) in wheel.stem.split("-")[-1]


@pytest.fixture(scope="session")
def wheel_names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="session")
def sdist_names(dist):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    """Return a folder that contains only the installed wheel."""
    site = tmp_path_factory.mktemp("site")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel, cwd=site)
    return site


@pytest.fixture
def python(installed, tmp_path):
    """Run code with the installed wheel, from an empty folder; return what it printed."""

    def execute(code):
        return run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed)).strip()

    return execute


def sources(folder, pattern="*.py"):
    return {path.relative_to(ROOT / folder).as_posix() for path in (ROOT / folder).rglob(pattern)}


def test_wheel_holds_mixfast_and_nothing_else(wheel_names):
    tops = {name.partition("/")[0] for name in wheel_names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"mixfast"}


def test_wheel_holds_every_module(wheel_names):
    assert {f"mixfast/{name}" for name in sources("mixfast")} <= wheel_names
    assert {f"mixfast/kernels/{name}" for name in sources("kernels")} <= wheel_names


def test_wheel_holds_types_and_data(wheel_names):
    assert "mixfast/py.typed" in wheel_names
    assert {f"mixfast/{name}" for name in sources("mixfast", "*.pyi")} <= wheel_names
    data = {f"mixfast/{path.relative_to(ROOT / 'mixfast')}" for path in (ROOT / "mixfast" / "data").glob("*.*")}
    assert data <= wheel_names


def test_wheel_holds_the_core_without_its_sources(wheel_names, wheel):
    core = sorted(name for name in wheel_names if name.endswith((".so", ".pyd")))
    assert [name.partition(".")[0] for name in core] == [f"mixfast/_engine/backend/{library}" for library in LIBRARIES]
    assert {f"mixfast/_engine/backend/{library}.pyi" for library in LIBRARIES} <= wheel_names
    assert not [name for name in wheel_names if name.endswith((".c", ".h", ".pyx"))]
    if sys.platform.startswith("linux"):
        with zipfile.ZipFile(wheel) as archive:
            for name in core:
                assert b".debug_info" not in archive.read(name), "debug symbols make the wheel five times larger"


def test_wheel_needs_numpy_and_pyyaml_only(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    needed = [entry for entry in metadata.get_all("Requires-Dist") if "extra ==" not in entry]
    assert [entry.partition(">")[0] for entry in sorted(needed)] == ["numpy", "pyyaml"]
    extras = set(metadata.get_all("Provides-Extra"))
    assert {"laws", "gpu", "score", "reference", "io", "plot", "all"} <= extras


def test_sdist_holds_the_sources_of_the_core(sdist_names):
    assert {"setup.py", "pyproject.toml", "LICENSE", "README.md"} <= sdist_names
    files = [path for path in (ROOT / "csrc").rglob("*.*") if path.parent != ROOT / "csrc" or path.suffix == ".pyx"]
    assert {path.relative_to(ROOT).as_posix() for path in files} <= sdist_names
    assert not {f"csrc/{library}.c" for library in LIBRARIES} & sdist_names
    assert {f"kernels/{name}" for name in sources("kernels")} <= sdist_names
    assert not [name for name in sdist_names if name.endswith((".so", ".o", ".pyc"))]


def test_installed_wheel_is_what_gets_imported(python, installed):
    where = python("import mixfast; from mixfast._engine.backend import rows; print(mixfast.__file__, rows.__file__)")
    assert all(Path(path).is_relative_to(installed) for path in where.split())


def test_import_loads_no_heavy_package(python):
    loaded = python("import sys, mixfast; print(*sorted({name.partition('.')[0] for name in sys.modules}))").split()
    assert not set(HEAVY) & set(loaded)


def test_import_loads_nothing_but_numpy_from_outside(python):
    code = """
import sys
before = set(sys.modules)
import mixfast
third = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(third - set(sys.stdlib_module_names)))
"""
    # Compiled modules may register their own helpers: with a leading underscore, or Cython's.
    found = {name for name in python(code).split() if not name.startswith("_")}
    assert found - {"cython_runtime"} <= {"mixfast", "numpy"}


def test_installed_wheel_solves(python):
    code = """
import numpy as np, mixfast
loglik = np.log(np.random.default_rng(0).dirichlet(np.ones(3), size=200))
solution = mixfast.solve(mixfast.ExpertTable.from_loglik(loglik, domains=["web", "code", "books"]))
print(solution.status, solution.gap <= 1e-6, abs(sum(solution.mixture.weights) - 1) < 1e-12)
"""
    assert python(code) == "optimal True True"


def test_installed_wheel_has_the_command(installed, tmp_path):
    answer = run(sys.executable, installed / "bin" / "mixfast", "--help", cwd=tmp_path, PYTHONPATH=str(installed))
    assert "mixfast" in answer


def test_kernels_install_under_mixfast(python, installed):
    where = python("import mixfast.kernels as kernels; print(kernels.__name__, kernels.__file__)")
    assert where == f"mixfast.kernels {installed / 'mixfast' / 'kernels' / '__init__.py'}"
    assert python("import importlib.util as u; print(u.find_spec('kernels'))") == "None"


def test_kernels_without_torch_say_what_to_install(python):
    code = """
import sys
sys.modules["torch"] = None
import mixfast.kernels
try:
    mixfast.kernels.row_pass
except ImportError as error:
    print(error)
"""
    assert "mixfast[gpu]" in python(code)


def test_kernels_refuse_their_bare_name(python):
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
try:
    import kernels
except ImportError as error:
    print(error)
"""
    assert "mixfast.kernels" in python(code)


def test_no_folder_hides_the_kernels():
    assert not (ROOT / "mixfast" / "kernels").exists()
