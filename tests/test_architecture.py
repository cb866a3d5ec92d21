"""The structure of the package: rooms in order, the imports that they may make, and rules for every file.

`walls.py` finds violations of the import rules.
"""

import ast
import importlib
import re
import sys
import tomllib
from fnmatch import fnmatch
from functools import cached_property
from inspect import getdoc
from types import FunctionType

import pytest
from walls import (
    PACKAGE,
    ROOT,
    RULES,
    is_type_checking,
    is_writing,
    name_of,
    python_files,
    room_of,
    tree_of,
    violations,
)

# Packages that may be imported together with `mixfast`: all others slow every start down and must be imported inside a function.
LIGHT = set(sys.stdlib_module_names) | {"numpy", "mixfast"}
# Loops compiled by Numba, and classes derived from torch's and scikit-learn's. They import it when loaded, so they are themselves imported only inside
# functions.
HEAVY = {
    "_engine/backend/compiled.py": "numba",
    "*/_*_loops.py": "numba",
    "experts/_ensemble.py": "sklearn",
    "loaders/_place.py": "torch",
    "loaders/_stream_sampler.py": "torch",
    "loaders/_stream_dataset.py": "torch",
}
# Import names that differ from the names for pip.
INSTALLED_AS = {"sklearn": "scikit-learn", "yaml": "pyyaml"}
# Rooms with output for people.
TALKING = {"cli", "report", "shell"}


def relative(path):
    return str(path.relative_to(ROOT))


def heavy(path):
    """Return the heavy package that a file may import when it is loaded."""
    return next(
        (package for pattern, package in HEAVY.items() if fnmatch(str(path.relative_to(PACKAGE)), pattern)), None
    )


def imports(node, *, inside_functions=True):
    """Yield the dotted names that are imported when the code runs; those in TYPE_CHECKING blocks are not."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = "." * child.level + (child.module or "")
            yield from (
                f"{base.rstrip('.')}.{alias.name}" if base.strip(".") else base + alias.name for alias in child.names
            )
        elif is_type_checking(child):
            for other in child.orelse:
                yield from imports(other, inside_functions=inside_functions)
        elif inside_functions or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports(child, inside_functions=inside_functions)


@pytest.fixture(scope="module")
def found():
    return violations()


@pytest.mark.parametrize("rule", RULES)
def test_the_walls_stand(rule, found):
    assert not found[rule], RULES[rule]


@pytest.mark.parametrize(
    ("code", "writes"),
    [
        ("open(path, 'w')", True),
        ("Path(path).open(mode='ab')", True),
        ("open(path, 'rb')", False),
        ("path.open(newline='', encoding='utf-8')", False),
        ("path.write_text(text)", True),
        ("write_text(path, text)", False),
        ("np.savez(path, a=1)", True),
        ("np.savez(handle, a=1)", False),
        ("np.memmap(path, mode='w+')", True),
        ("np.memmap(path, mode='r')", False),
        ("os.open(path, os.O_RDWR | os.O_CREAT)", True),
        ("os.open(path, os.O_RDONLY)", False),
        ("os.replace(one, other)", True),
        ("text.replace(one, other)", False),
    ],
)
def test_calls_that_write_are_told(code, writes):
    assert is_writing(ast.parse(code).body[0].value, {"handle"}) is writes


def test_only_the_backend_imports_the_kernels():
    for path in python_files("mixfast"):
        if room_of(name_of(path)) != "_engine.backend":
            found = [name for name in imports(tree_of(path)) if name.startswith("mixfast.kernels")]
            assert not found, f"{relative(path)} imports {found}: use mixfast._engine.backend.gpu_kernels"


def test_heavy_packages_wait_inside_functions():
    loops = {name_of(path) for path in python_files("mixfast") if heavy(path)}
    for path in python_files("mixfast"):
        for name in imports(tree_of(path), inside_functions=False):
            first = name.split(".")[0]
            assert first in LIGHT or first == heavy(path), f"{relative(path)} imports {name} when it is loaded"
            if not heavy(path):
                assert not any(name == loop or name.startswith(f"{loop}.") for loop in loops), (
                    f"{relative(path)} imports {name}, and Numba or torch with it, when it is loaded"
                )


def test_what_is_imported_is_required_and_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base, extras = project["dependencies"], project["optional-dependencies"]

    def packages(*lists):
        return {re.match(r"[\w-]+", requirement).group().lower() for ones in lists for requirement in ones}

    for_users = packages(
        base, *(ones for extra, ones in extras.items() if extra not in ("dev", "bench", "docs", "all"))
    )
    # `make test` and `make lint` install the base, `dev`, and the requirements of the kernels.
    for_tests = packages(base, extras["dev"], extras["gpu"])
    taken = set()
    for path in [*python_files("mixfast"), *python_files("kernels")]:
        for name in imports(tree_of(path)):
            first = name.split(".")[0]
            # torchdata is never required: users of its loaders have it installed.
            if name.startswith(".") or first in {*sys.stdlib_module_names, "mixfast", "torchdata"}:
                continue
            taken.add(package := INSTALLED_AS.get(first, first))
            assert package in for_users, f"{relative(path)} imports {first}: no extra in pyproject.toml contains it"
            assert package in for_tests, f"{relative(path)} imports {first}: add it to `dev`, or its tests are skipped"
    # cvxpy imports Clarabel.
    unused = for_users - taken - {"clarabel"}
    assert not unused, f"extras contain packages that nothing imports: {sorted(unused)}"


def test_the_kernels_are_a_leaf():
    allowed = set(sys.stdlib_module_names) | {"torch", "triton"}
    for path in python_files("kernels"):
        for name in imports(tree_of(path)):
            assert not name.startswith(".."), f"{relative(path)} imports {name}"
            assert name.startswith(".") or name.split(".")[0] in allowed, f"{relative(path)} imports {name}"


def test_no_assert_outside_tests():
    for path in [*python_files("mixfast", "kernels"), ROOT / "setup.py"]:
        lines = [node.lineno for node in ast.walk(tree_of(path)) if isinstance(node, ast.Assert)]
        assert not lines, f"{relative(path)} uses assert in lines {lines}: raise an error that says what to do"


def test_the_library_prints_nothing():
    for path in python_files("mixfast", "kernels"):
        if path.is_relative_to(PACKAGE) and room_of(name_of(path)) in TALKING:
            continue
        lines = [
            node.lineno
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
        ]
        assert not lines, f"{relative(path)} prints in lines {lines}"


def test_every_module_says_what_it_is_for():
    missing = [relative(path) for path in python_files("mixfast", "kernels") if not ast.get_docstring(tree_of(path))]
    assert not missing


def undocumented(name, value):
    """Yield public objects without a docstring, and public methods and properties of classes without one."""
    if callable(value) and not value.__doc__:
        yield name
    if isinstance(value, type) and value.__module__.startswith("mixfast"):
        for key, member in vars(value).items():
            described = isinstance(member, property | cached_property | classmethod | staticmethod)
            if not key.startswith("_") and (described or isinstance(member, FunctionType)) and not getdoc(member):
                yield f"{name}.{key}"


def test_names_offered_exist_and_are_documented():
    pytest.importorskip("torch")
    faces = [path.parent.name for path in PACKAGE.glob("*/__init__.py") if not path.parent.name.startswith("_")]
    missing = []
    for face in ["mixfast", "mixfast.kernels", *(f"mixfast.{name}" for name in sorted(faces))]:
        module = importlib.import_module(face)
        assert module.__all__, f"{face} has no __all__: list the public names in it"
        for name in module.__all__:
            missing += undocumented(f"{face}.{name}", getattr(module, name))
    assert not missing
