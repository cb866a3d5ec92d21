"""The wheels that are published, and the one version that everything states.

MIXFAST_DIST names the folder that `make wheels` fills; without it only the version is tested.
"""

import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import mixfast

ROOT = Path(__file__).resolve().parent.parent
DIST = Path(os.environ["MIXFAST_DIST"]).resolve() if os.environ.get("MIXFAST_DIST") else None
WHEELS = sorted(DIST.glob("*.whl")) if DIST else []
LIBRARIES = ["laws", "rows", "simplex", "stream"]


def on_each_wheel(test):
    """Run a test on each wheel, and skip it when there are none."""
    if not WHEELS:
        return pytest.mark.skip(reason="no wheels: run `make wheels`, then set MIXFAST_DIST=dist")(test)
    return pytest.mark.parametrize("wheel", WHEELS, ids=lambda path: path.name)(test)


def held(wheel, ending):
    """Content of the one file of a wheel whose name ends so."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(ending))
        return archive.read(name)


@on_each_wheel
def test_a_wheel_serves_every_python_from_311_on(wheel):
    assert wheel.name.split("-")[2:4] == ["cp311", "abi3"]
    with zipfile.ZipFile(wheel) as archive:
        core = sorted(name for name in archive.namelist() if name.endswith((".so", ".pyd")))
    assert core == [f"mixfast/_engine/backend/{library}.abi3.so" for library in LIBRARIES]


@on_each_wheel
def test_a_wheel_holds_types_and_data_and_neither_sources_nor_tests(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"mixfast"}
    assert not [name for name in names if name.endswith((".c", ".h", ".pyx", ".pxi")) or "/tests/" in name]
    assert "mixfast/py.typed" in names
    assert [name for name in names if name.startswith("mixfast/data/")]
    assert {f"mixfast/_engine/backend/{library}.pyi" for library in LIBRARIES} <= set(names)


@on_each_wheel
def test_a_linux_wheel_loads_with_glibc_2_17(wheel):
    platform = wheel.stem.split("-")[4]
    if not platform.startswith("manylinux"):
        pytest.skip("auditwheel reads wheels for Linux")
    assert re.fullmatch(r"manylinux_2_17_(x86_64|aarch64)", platform)
    if importlib.util.find_spec("auditwheel") is None:
        pytest.skip("auditwheel is not installed: `make wheels` installs it")
    done = subprocess.run(
        [sys.executable, "-m", "auditwheel", "show", str(wheel)], capture_output=True, text=True, check=False
    )
    assert f'platform tag: "{platform}"' in " ".join(done.stdout.split()), done.stdout + done.stderr


@on_each_wheel
def test_a_wheel_brings_numpy_and_pyyaml_only(wheel):
    metadata = Parser().parsestr(held(wheel, ".dist-info/METADATA").decode())
    needed = [entry for entry in metadata.get_all("Requires-Dist") if "extra ==" not in entry]
    assert [re.split(r"[<>=]", entry)[0] for entry in sorted(needed)] == ["numpy", "pyyaml"]
    assert metadata["Version"] == mixfast.__version__


def test_one_version_is_stated_everywhere():
    version = mixfast.__version__
    assert "__version__" in (ROOT / "mixfast" / "_version.py").read_text()
    assert all(f"mixfast-{version}-" in path.name for path in WHEELS)
    assert not DIST or [path.name for path in DIST.glob("*.tar.gz")] == [f"mixfast-{version}.tar.gz"]
    shown = subprocess.run([sys.executable, "-m", "mixfast", "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["mixfast", version]
    cited = ROOT / "CITATION.cff"
    if cited.exists():
        assert re.search(r'^version: "?([^"\n]+)"?$', cited.read_text(), re.MULTILINE)[1].strip() == version
    # Sphinx takes the version from the package; a number of its own could differ.
    conf = ROOT / "docs" / "conf.py"
    if conf.exists():
        assert "mixfast.__version__" in conf.read_text()
