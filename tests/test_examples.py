"""Every example runs as a script, the notebook runs in a kernel, and pyright accepts all of them against the installed package."""

import ast
import importlib
import json
import re
import runpy
import shutil
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


def missing(path):
    """Return the packages of extras that an example imports and that are not installed."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).split(".")[0])
            if node.module == "mixfast":
                # The loaders need torch.
                names |= {"torch"} if any(alias.name == "loaders" for alias in node.names) else set()
    if "mixfast.fit(" in path.read_text(encoding="utf-8"):
        names |= {"scipy", "numba"}
    return sorted(name for name in names if find_spec(name) is None)


@pytest.fixture
def threads():
    """Restore the threads of torch, which an example sets."""
    torch = importlib.import_module("torch") if find_spec("torch") else None
    before = torch.get_num_threads() if torch else 0
    yield
    if torch:
        torch.set_num_threads(before)


def run(path, folder, monkeypatch):
    """Run an example as a script in a folder; return how many figures it drew."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MPLBACKEND", "agg")
    # With the search path of a script: transformers would take the folder `kernels` of this repository for a package of that name.
    monkeypatch.setattr(sys, "path", [str(path.parent), *(one for one in sys.path if one not in ("", str(ROOT)))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        runpy.run_path(str(path), run_name="__main__")
    pyplot = sys.modules.get("matplotlib.pyplot")
    figures = len(pyplot.get_fignums()) if pyplot else 0
    if pyplot:
        pyplot.close("all")
    return figures


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_runs_and_prints_what_a_reader_can_judge(path, tmp_path, monkeypatch, capsys, threads):
    if absent := missing(path):
        pytest.skip(f"{path.name} needs {', '.join(absent)}")
    figures = run(path, tmp_path, monkeypatch)
    out, err = capsys.readouterr()
    assert re.search(r"\d\.\d", out), "the example prints no number"
    assert err == ""
    assert bool(figures) == ("_plot_" in path.name), "files whose name has _plot_ draw a figure, and no others"
    assert not list(tmp_path.iterdir()), "the example leaves files where it was started"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_is_a_page_of_the_gallery(path):
    text = path.read_text(encoding="utf-8")
    title, line, blank, *words = (ast.get_docstring(ast.parse(text)) or "").splitlines()
    assert line == "=" * len(title), "the docstring begins with a title, underlined to its end"
    assert blank == ""
    assert len(" ".join(words)) > 100, "and a paragraph that says what one will see"
    assert "\n# %%\n# " in text, "text between blocks begins with # %%"
    assert 20 <= len([line for line in text.splitlines() if line.strip()]) <= 60
    assert "assert " not in text


def test_the_examples_are_numbered_without_gaps():
    assert [int(path.name[:2]) for path in EXAMPLES] == list(range(1, len(EXAMPLES) + 1))


def test_the_notebook_is_stored_without_output():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code")


@pytest.mark.process
def test_the_notebook_runs_and_shows_its_answers(tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="nbformat belongs to the extra dev")
    nbclient = pytest.importorskip("nbclient", reason="nbclient belongs to the extra dev")
    pytest.importorskip("ipykernel", reason="ipykernel belongs to the extra dev")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type in ("error", "stream")]
    shown = [output.data for output in outputs]
    assert any("image/png" in data for data in shown)
    assert sum("text/html" in data or "text/plain" in data for data in shown) >= 5


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Make a Python environment with mixfast installed without --editable, because pyright does not find editable packages."""
    place = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (site,) = place.glob("lib/python*/site-packages")
    (site / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    sources = shutil.ignore_patterns("data", "*.so", "__pycache__")
    shutil.copytree(ROOT / "mixfast", site / "mixfast", ignore=sources)
    return place


def pyright(place, *words):
    """Return pyright's findings as parsed JSON."""
    pytest.importorskip("basedpyright", reason="basedpyright belongs to the extra dev")
    pytest.importorskip("torch", reason="classes that derive from those of torch have no known type without it")
    command = [sys.executable, "-m", "basedpyright", "--outputjson", *words]
    # pyright uses the first Python in PATH.
    path = {"PATH": f"{place / 'bin'}:/usr/bin:/bin", "HOME": str(place)}
    done = subprocess.run(command, cwd=place, env=path, capture_output=True, text=True, check=False, timeout=300)
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.process
def test_pyright_accepts_the_examples(installed):
    shutil.copytree(ROOT / "examples", installed / "examples")
    settings = {"include": ["examples"], "typeCheckingMode": "basic", "pythonVersion": "3.11"}
    (installed / "pyrightconfig.json").write_text(json.dumps(settings))
    found = pyright(installed, "--project", str(installed))
    assert found["summary"]["filesAnalyzed"] >= len(EXAMPLES)
    assert not [f"{Path(each['file']).name}: {each['message']}" for each in found["generalDiagnostics"]]


@pytest.mark.process
def test_every_public_name_has_a_known_type(installed):
    found = pyright(installed, "--verifytypes", "mixfast", "--ignoreexternal")["typeCompleteness"]
    unknown = [each["name"] for each in found["symbols"] if not each["isTypeKnown"] or each["isTypeAmbiguous"]]
    assert found["exportedSymbolCounts"]["withKnownType"] > 300
    assert not unknown
