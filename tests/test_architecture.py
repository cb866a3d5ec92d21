"""The shape of the house: who imports whom, and rules that hold in every file."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Imports point to the left. A public module missing here fails the first test: say where it stands.
LAYERS = {
    "base": {"errors", "reference"},
    "values": {"region", "mixture", "tables", "swarm", "solution"},
    "work": {
        "solver", "mde", "designs", "laws", "proposers", "reuse", "sampler", "loaders", "readers", "exporters", "score",
    },
    "shell": {"cli", "report", "__main__", "__init__"},
}  # fmt: skip
ORDER = list(LAYERS)
LAYER = {module: layer for layer, modules in LAYERS.items() for module in modules}

# Work modules do not import one another, but for these; the solver loop is shared by all.
SHARED = {"solver"}
ALLOWED = {("proposers", "laws"), ("loaders", "sampler")}

# What may be imported when `mixfast` is: everything else costs every user time and must wait inside a function.
LIGHT = set(sys.stdlib_module_names) | {"numpy", "mixfast"}
PRINTERS = {
    "cli",
    "_cli_design",
    "_cli_export",
    "_cli_options",
    "_cli_reuse",
    "_cli_report",
    "_cli_reuse_plan",
    "_cli_score",
    "_cli_swarm",
    "report",
    "__main__",
}

# Loops compiled by Numba: private modules that import it when loaded, and are themselves imported inside functions only.
LOOPS = set((ROOT / "mixfast").rglob("_*_loops.py"))
# The same for classes that derive from those of torch.
TORCH = {ROOT / "mixfast" / "loaders" / f"_{name}.py" for name in ("place", "stream_sampler", "stream_dataset")}
HEAVY = {**dict.fromkeys(LOOPS, "numba"), **dict.fromkeys(TORCH, "torch")}


def python_files(*folders):
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_of(path):
    """First part of the module's name inside mixfast: `laws` for mixfast/laws/boosted.py."""
    return path.relative_to(ROOT / "mixfast").parts[0].removesuffix(".py")


MODULES = sorted({module_of(path) for path in python_files("mixfast")})


def is_type_checking(node):
    test = node.test if isinstance(node, ast.If) else None
    return getattr(test, "id", getattr(test, "attr", None)) == "TYPE_CHECKING"


def imports(node, *, inside_functions=True):
    """Dotted names that are imported when the code runs; those of TYPE_CHECKING blocks are not."""
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


def own_imports(module):
    """Modules of mixfast that a module imports, by first part; relative imports inside a sub-package are its own."""
    found = set()
    for path in python_files("mixfast"):
        if module_of(path) != module:
            continue
        for name in imports(tree_of(path)):
            parts = name.split(".")
            if parts[0] == "mixfast":
                found.add(parts[1] if len(parts) > 1 else "__init__")
            elif name.startswith("."):
                depth = len(name) - len(name.lstrip("."))
                if depth == len(path.relative_to(ROOT / "mixfast").parts):
                    found.add(name.lstrip(".").split(".")[0])
    # `from mixfast import solve` is an import of the package itself, whatever it names.
    return {name if name in MODULES or name == "kernels" else "__init__" for name in found} - {module}


def reached(module):
    """Public modules that a module imports, directly or through private ones, which stand where they are used."""
    seen, queue = set(), [module]
    while queue:
        for name in own_imports(queue.pop()) - seen:
            seen.add(name)
            if name.startswith("_") and name != "__init__":
                queue.append(name)
    return {name for name in seen if not name.startswith("_") or name == "__init__"} - {"kernels", module}


def test_every_public_module_has_its_place():
    public = {module for module in MODULES if not module.startswith("_")}
    assert public <= set(LAYER), f"give these a layer in LAYERS: {sorted(public - set(LAYER))}"


@pytest.mark.parametrize("module", [module for module in MODULES if module in LAYER])
def test_imports_point_one_way(module):
    height = ORDER.index(LAYER[module])
    for other in reached(module):
        assert ORDER.index(LAYER[other]) <= height, f"{module} ({LAYER[module]}) imports {other} ({LAYER[other]})"
        if LAYER[module] == LAYER[other] == "work":
            assert other in SHARED or (module, other) in ALLOWED, f"{module} imports {other}: both do work"


@pytest.mark.parametrize(
    "path", [p for p in python_files("mixfast") if not p.match("_engine/backend/*.py")], ids=lambda path: path.name
)
def test_only_the_backend_imports_the_kernels(path):
    for name in imports(tree_of(path)):
        kernels = name.startswith(("mixfast", ".")) and "kernels" in name.lstrip(".").split(".")
        assert not kernels, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", python_files("mixfast"), ids=lambda path: path.name)
def test_heavy_packages_wait_inside_functions(path):
    light = LIGHT | {HEAVY[path]} if path in HEAVY else LIGHT
    for name in imports(tree_of(path), inside_functions=False):
        assert name.startswith(".") or name.split(".")[0] in light, f"{path.name} imports {name} when it is loaded"
        heavy = any(part in {other.stem for other in HEAVY} for part in name.split("."))
        assert not heavy or path in HEAVY, f"{path.name} imports {name}, and Numba or torch with it, when it is loaded"


def test_the_kernels_are_a_leaf():
    allowed = set(sys.stdlib_module_names) | {"torch", "triton"}
    for path in python_files("kernels"):
        for name in imports(tree_of(path)):
            assert name.startswith(".") or name.split(".")[0] in allowed, f"kernels/{path.name} imports {name}"
            assert not name.startswith(".."), f"kernels/{path.name} imports {name}"


@pytest.mark.parametrize(
    "path", [*python_files("mixfast", "kernels", "benchmarks"), ROOT / "setup.py"], ids=lambda path: path.name
)
def test_no_assert_outside_tests(path):
    lines = [node.lineno for node in ast.walk(tree_of(path)) if isinstance(node, ast.Assert)]
    assert not lines, f"{path.relative_to(ROOT)} asserts in lines {lines}: raise an error that says what to do"


@pytest.mark.parametrize(
    "path", [p for p in python_files("mixfast", "kernels") if p.stem not in PRINTERS], ids=lambda path: path.name
)
def test_the_library_prints_nothing(path):
    if path.stem in PRINTERS:
        pytest.skip("talks to a person")
    lines = [
        node.lineno
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]
    assert not lines, f"{path.relative_to(ROOT)} prints in lines {lines}"


def public_definitions(node):
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return [child for child in node.body if isinstance(child, definitions) and not child.name.startswith("_")]


def undocumented(path):
    """Public functions, classes and methods without a docstring."""
    tree = tree_of(path)
    if ast.get_docstring(tree) is None:
        yield "the module itself"
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    for node in tree.body:
        if not isinstance(node, definitions) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None:
            yield node.name
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if (
                    isinstance(member, definitions)
                    and not member.name.startswith("_")
                    and ast.get_docstring(member) is None
                ):
                    yield f"{node.name}.{member.name}"


@pytest.mark.parametrize("path", python_files("mixfast", "kernels"), ids=lambda path: path.name)
def test_public_names_have_docstrings(path):
    if path.name.startswith("_") and path.name != "__init__.py":
        missing = [name for name in undocumented(path) if name == "the module itself"]
    else:
        missing = list(undocumented(path))
    assert not missing, f"{path.relative_to(ROOT)}: {missing}"


def test_names_offered_by_the_package_exist_and_are_documented():
    mixfast = pytest.importorskip("mixfast")
    for name in getattr(mixfast, "__all__", []):
        assert getattr(mixfast, name).__doc__ or name.startswith("__"), f"mixfast.{name} has no docstring"
