"""Parse the package and list imports and accesses that the rules between its rooms forbid; used by `test_architecture.py`.

`python tests/walls.py` prints every violation.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mixfast"

# Each room may import the rooms before it. Dotted rooms are folders of the internal room before the dot.
ROOMS = (
    "_version", "_text", "errors", "_engine.backend", "ranks", "_engine.geometry", "mixture", "region", "baselines", "experts", "tables", "swarm",
    "reference", "_engine.objectives", "_engine.optimise", "solver", "laws", "proposers", "designs", "mde", "reuse", "sampler", "loaders",
    "score", "exporters", "readers", "report", "cli", "shell",
)  # fmt: skip
# Files allowed in mixfast/ itself, apart from folders. `shell` is the package's `__init__.py` and `__main__.py`.
FILES = {
    "__init__": "shell",
    "__main__": "shell",
    "_version": "_version",
    "errors": "errors",
    "mixture": "mixture",
}
# Rooms whose `__init__.py` exports nothing: their modules are imported directly, and their names have no underscore.
INTERNAL = {room for room in ROOMS if room.startswith("_")} | {"errors", "mixture"}
# The slow reference implementation is for tests; in the package only this file may import it, for backend="reference".
ASKS_THE_REFERENCE = PACKAGE / "solver" / "_by_reference.py"
# The methods of named tuples start with an underscore but are public.
NAMED_TUPLE = {"_replace", "_asdict", "_fields", "_make"}
SHORTEST_FACE = 10
# Files that may write: the atomic writers of files and folders; the locks, which are files without content; the traceback, which is a new temporary file.
# Below, the calls that write or rename a file in any other file.
WRITERS = {PACKAGE / "_text" / name for name in ("atomic.py", "folders.py", "locks.py", "surprise.py")}
WRITING_METHODS = {"write_text", "write_bytes", "tofile", "touch"}
WRITING_CALLS = frozenset((
    *("np.save", "np.savetxt", "np.savez", "np.savez_compressed", "numpy.save", "numpy.savez", "np.memmap", "np.lib.format.open_memmap"),
    *("os.rename", "os.replace", "os.link", "os.symlink", "os.mkfifo", "os.truncate", "shutil.copy", "shutil.copy2", "shutil.copyfile"),
    *("shutil.copytree", "shutil.move", "tempfile.mkstemp", "tempfile.NamedTemporaryFile", "tempfile.TemporaryFile", "zipfile.ZipFile"),
))  # fmt: skip
# File descriptors that cannot change a file.
HARMLESS = {"os.O_RDONLY", "os.O_CLOEXEC", "os.O_DIRECTORY", "os.O_NOFOLLOW", "os.O_NONBLOCK"}
RULES = {
    "no room": "a file belongs to no room, or imports a file that belongs to none: add the room to ROOMS",
    "order": "a room may import only rooms before it in ROOMS",
    "own face": "inside a room import from the file that defines the name",
    "past the face": "import names of another public room from its `__init__.py`",
    "private name": "a name with an underscore may be used only inside its room",
    "reference": "the package itself does not use the slow reference implementation",
    "circle": "files may not import one another in a circle",
    "reaches in": "a private attribute may be used only in the file that defines its class: make it public if others need it",
    "writes": "write files with mixfast._text.atomic, which never leaves a partial file: replacing, write_text or write_together",
    "face": "the `__init__.py` of a room contains its introduction and re-exports, nothing else",
}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    """Return the dotted name of a module of the package: `mixfast.region._bounds`, or `mixfast.region` for its `__init__.py`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in python_files("mixfast")}


def room_of(module: str) -> str | None:
    """Return the room of a module; None if it belongs to none."""
    parts = module.split(".")[1:]
    if not parts:
        return "shell"
    if parts[0] == "_engine":
        return ".".join(parts[:2]) if len(parts) > 1 else None
    if MODULES.get(f"mixfast.{parts[0]}") == PACKAGE / f"{parts[0]}.py":
        return FILES.get(parts[0])
    return parts[0] if parts[0] in ROOMS else None


def place(room: str | None) -> int:
    """Return the position of a room; a module without a room may import everything."""
    return len(ROOMS) if room is None else ROOMS.index(room)


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """Yield what a file imports from the package, anywhere in it: pairs of a module and a name in it, or "" for all of it."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == "mixfast")
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name_of(path).split(".") if path.name == "__init__.py" else name_of(path).split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [base])])
            if base.split(".")[0] == "mixfast":
                for alias in node.names:
                    module = f"{base}.{alias.name}"
                    yield (module, "") if module in MODULES else (base, alias.name)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def imports() -> Iterator[tuple[str, str]]:
    """Yield forbidden imports with the rule."""
    for module, path in MODULES.items():
        own = room_of(module)
        if own is None or own == "shell":
            continue
        for other, name in imported(path):
            what = f"{other}.{name}" if name else other
            room = room_of(other)
            if other.startswith("mixfast.kernels"):
                continue
            if room is None:
                yield "no room", f"{module} imports {what}"
            elif room == own:
                if own not in INTERNAL and path.name != "__init__.py" and other == f"mixfast.{own}":
                    yield "own face", f"{module} imports {what}"
            elif room == "reference":
                if path != ASKS_THE_REFERENCE:
                    yield "reference", f"{module} imports {what}"
            elif place(room) > place(own):
                yield "order", f"{module} imports {what}"
            if room in (None, own):
                continue
            if is_private(name):
                yield "private name", f"{module} imports {what}"
            elif room not in INTERNAL and room != "shell" and other != f"mixfast.{room}":
                yield "past the face", f"{module} imports {what}"


def circles() -> Iterator[tuple[str, str]]:
    """Yield groups of files that import one another, including imports inside functions and for type checkers.

    Imports of a later room are listed by `imports` and left out here: a single one would join half of the package into one group.
    """
    edges: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        own = place(room_of(module))
        edges[module] = {other for other, _ in imported(path) if other in MODULES and place(room_of(other)) <= own}

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        queue = [start]
        while queue:
            new = edges[queue.pop()] - seen
            seen |= new
            queue += new
        return seen

    reach = {module: reached(module) for module in MODULES}
    for module in MODULES:
        ring = sorted(other for other in reach[module] if module in reach[other])
        if ring and module == ring[0]:
            yield "circle", " ".join(ring)


def defined(tree: ast.Module) -> set[str]:
    """Return the attributes that classes of a file define: fields, methods, slots, and attributes that methods set on self."""
    found: set[str] = set()
    for owner in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        for node in ast.walk(owner):
            if isinstance(node, ast.FunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.AnnAssign | ast.Assign):
                for target in [node.target] if isinstance(node, ast.AnnAssign) else node.targets:
                    if isinstance(target, ast.Name):
                        found.add(target.id)
                        if target.id == "__slots__" and node.value is not None:
                            found |= {leaf.value for leaf in ast.walk(node.value) if isinstance(leaf, ast.Constant)}
                    found |= {leaf.attr for leaf in ast.walk(target) if isinstance(leaf, ast.Attribute)}
    return found


def is_own(node: ast.expr) -> bool:
    """Whether an expression is self, its class, or super()."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in ("super", "type")
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def reaches() -> Iterator[tuple[str, str]]:
    """Yield private attributes of objects whose class is in another file."""
    for module, path in MODULES.items():
        tree = tree_of(path)
        own = defined(tree)
        for node in ast.walk(tree):
            base: ast.expr | None = None
            name = ""
            if isinstance(node, ast.Attribute):
                base, name = node.value, node.attr
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "setattr", "hasattr"):
                base, name = node.args[0], getattr(node.args[1], "value", "")
            if base is None or not isinstance(name, str) or not is_private(name):
                continue
            if not is_own(base) and name not in own | NAMED_TUPLE:
                yield "reaches in", f"{module}: {ast.unparse(base)}.{name}"


def writes() -> Iterator[tuple[str, str]]:
    """Yield calls that write or rename a file outside the atomic writer."""
    for module, path in MODULES.items():
        if path in WRITERS:
            continue
        tree = tree_of(path)
        # Files opened by `replacing` may be written to.
        opened = {
            item.optional_vars.id
            for node in ast.walk(tree)
            if isinstance(node, ast.With)
            for item in node.items
            if isinstance(item.optional_vars, ast.Name) and ast.unparse(item.context_expr).startswith("replacing(")
        } | {argument.arg for argument in ast.walk(tree) if isinstance(argument, ast.arg) and argument.arg == "handle"}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and is_writing(node, opened):
                yield "writes", f"{module}: {ast.unparse(node)[:80]}"


def is_writing(call: ast.Call, opened: set[str]) -> bool:
    """Whether a call opens a file for writing, writes to one that is not in ``opened``, or renames one."""
    called = ast.unparse(call.func)
    first = ast.unparse(call.args[0]) if call.args else ""
    words = {
        node.value for each in (*call.args, *call.keywords) for node in ast.walk(each) if isinstance(node, ast.Constant)
    }
    if called == "os.open":
        flags = {ast.unparse(node) for node in ast.walk(call.args[1]) if isinstance(node, ast.Attribute)}
        return first != "os.devnull" and not flags <= HARMLESS
    if called in ("open", "io.open", "gzip.open", "os.fdopen") or called.endswith(".open"):
        # Opening the name of an archive member writes into the archive.
        modes = {word for word in words if isinstance(word, str) and word and set(word) <= set("rwabxt+")}
        return any(set("wax+") & set(mode) for mode in modes) and not called.startswith("archive.")
    if called in ("zipfile.ZipFile", "np.memmap"):
        return bool(words & {"w", "a", "x", "r+", "w+"}) and first not in opened
    if called in WRITING_CALLS:
        return first not in opened
    return isinstance(call.func, ast.Attribute) and call.func.attr in WRITING_METHODS


def places() -> Iterator[tuple[str, str]]:
    """Yield files in mixfast/ itself that belong in a room, and folders that are not rooms."""
    for path in PACKAGE.glob("*.py"):
        if path.stem not in FILES:
            yield "no room", str(path.relative_to(ROOT))
    for module in MODULES:
        if room_of(module) is None and module not in ("mixfast._engine",) and module.count(".") > 1:
            yield "no room", module


def faces() -> Iterator[tuple[str, str]]:
    """Yield `__init__.py` files that do more than introduce their room and export its names."""
    for room in sorted(set(ROOMS) - INTERNAL - {"shell"}):
        path = PACKAGE / room / "__init__.py"
        if not path.exists():
            yield "face", f"{room}: missing"
            continue
        tree = tree_of(path)
        lines = (ast.get_docstring(tree) or "").count("\n") + 1
        if lines < SHORTEST_FACE:
            yield "face", f"{room}: its introduction is shorter than {SHORTEST_FACE} lines"
        for node in tree.body:
            if not re_exports(node, room):
                yield "face", f"{room}: more than re-exports: {ast.unparse(node).splitlines()[0][:60]}"


def re_exports(node: ast.stmt, room: str) -> bool:
    """Whether a statement exports names of the room; names that need a heavy package may be in `__getattr__`."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Assign):
        return [getattr(target, "id", "") for target in node.targets] in (["__all__"], ["_LATER"])
    if isinstance(node, ast.ImportFrom):
        return (node.module or "") in ("__future__", "importlib", "typing") or (
            (node.module or "").split(".")[:2] == ["mixfast", room]
        )
    if isinstance(node, ast.FunctionDef):
        return node.name in ("__getattr__", "__dir__")
    return is_type_checking(node) and all(re_exports(child, room) for child in node.body)


def is_type_checking(node: ast.AST) -> bool:
    test = node.test if isinstance(node, ast.If) else None
    return getattr(test, "id", getattr(test, "attr", None)) == "TYPE_CHECKING"


def violations() -> dict[str, list[str]]:
    """Return all violations by rule."""
    found: dict[str, set[str]] = {rule: set() for rule in RULES}
    for check in (places, imports, circles, reaches, writes, faces):
        for rule, what in check():
            found[rule].add(what)
    return {rule: sorted(ones) for rule, ones in found.items()}


def main() -> None:
    for rule, ones in violations().items():
        print(f"{rule}:", *ones, sep="\n    ")


if __name__ == "__main__":
    main()
