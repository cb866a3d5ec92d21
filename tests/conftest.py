"""Settings shared by the whole suite."""

import html
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Triton reads this once, when it is first imported, which any test may cause. Without a GPU its kernels are interpreted.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Under nohup, or in the background of a shell, a process starts with some signals ignored and passes that on to its children, which the
# tests start and end. A signal with a handler is not passed on.
for _number in (signal.SIGINT, getattr(signal, "SIGHUP", None)):
    if _number is not None and signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else lambda number, frame: None)

# Idle threads of OpenMP and OpenBLAS sleep instead of spinning. Read when the libraries are loaded. Where other processes need the
# processors, spinning made tests with torch take four times the processor time, and fits of laws twice.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

# Two processes that compile a loop for different types at the same time may mix up the files of Numba's cache.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / "build" / "numba" / os.environ["PYTEST_XDIST_WORKER"]))

# A command that fails in a separate process shows its traceback.
os.environ.setdefault("MIXFAST_TRACEBACK", "1")

try:
    import hypothesis
except ImportError:
    pass
else:
    # Time limits for one example test the machine, not the code. With CI set, a test draws the same examples in every run, so that
    # only a change can make it fail; new examples are tried wherever else the tests run.
    hypothesis.settings.register_profile("mixfast", deadline=None, derandomize="CI" in os.environ)
    # For builds that are many times slower: --hypothesis-profile=few
    hypothesis.settings.register_profile("few", deadline=None, max_examples=10, derandomize="CI" in os.environ)
    hypothesis.settings.load_profile("mixfast")

# Words that only make sense in Python: commands must name options instead. "In Python" announces an exception.
_PYTHON = re.compile(
    r"(?<!in Python: )(?<![\w.])(?:(?:Region|ExpertTable|Swarm|Mixture|Fit|Ledger|Design)(?:\.\w+)?\(|swarm\.\w+\(|(?:Region|ExpertTable|Swarm|Fit|Ledger)\.[a-z_]+"
    r"|(?:law|laws|kl|cap|floor|bounds|prior|folds|tasks|penalty|objective|method|backend|threads|ignore|metrics|seed|wear|tol|eps|features"
    r"|max_epochs|target_tokens|own|earlier)=(?!\.)[\w\[{'\"(]|mixfast\.(?:fit|propose|solve|design|laws|solver|readers|reuse|region)\b"
    r"|max_epochs|(?<!constraints\.)target_tokens|more_is_better|less_is_better)"
)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call `mixfast` in this process with any arguments; return its exit status, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        from mixfast import cli
        from mixfast._text.visible import is_visible

        capsys.readouterr()
        status = cli.main([str(word) for word in words])
        printed = capsys.readouterr()
        pages = [Path(str(word)) for word in words if str(word).endswith(".html")]
        # The text of a page, without the command that made it.
        shown = [
            re.sub(r"<(style|script|code)\b.*?</\1>|<[^>]*>", " ", page.read_text(), flags=re.S)
            for page in pages
            if page.is_file()
        ]
        # Given text must not control a terminal or change the direction of writing on a page.
        for text in (printed.out, printed.err, *map(html.unescape, shown)):
            assert is_visible(text, keep="\n")
            assert not _PYTHON.findall(text)
        return status, printed.out, printed.err

    return call


@pytest.fixture
def good(run: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Call `mixfast`, which must succeed and print only notes and warnings on stderr; return its stdout, followed by them unless it is JSON."""

    def call(*words: object) -> str:
        status, out, err = run(*words)
        assert status == 0
        assert all(line.startswith(("mixfast: note: ", "mixfast: warning: ")) for line in err.splitlines()), err
        return out if "--json" in words else out + err

    return call


@pytest.fixture
def refused(run: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Call `mixfast`, which must refuse with one line on stderr, after notes, and exit status 2; return that line.

    Commands that find a problem late may already have printed to stdout.
    """

    def call(*words: object) -> str:
        status, _, err = run(*words)
        assert status == 2
        *notes, line = err.splitlines()
        assert line.startswith("mixfast: error: ")
        assert all(one.startswith("mixfast: note: ") for one in notes)
        return f"{line}\n"

    return call


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name gzip data without its content, which holds the time: processes that share the tests need the same names."""
    return "gzip" if isinstance(val, bytes) and val.startswith(b"\x1f\x8b") else None


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Look for examples in docstrings of the package only: the files of the tests hold none, and helpers import heavy packages."""
    found = yield
    # Those of docstrings are of a class that derives from this one.
    return [collector for collector in found if type(collector) is pytest.Module]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several processes, begin with the files of slow tests and then those of many: none should be alone with minutes of work at the end."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    many = Counter(item.path for item in items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, -many[item.path]))


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run if MIXFAST_EXPECT names a folder and `mixfast` is imported from another one."""
    expected = os.environ.get("MIXFAST_EXPECT")
    if expected:
        import mixfast

        found = Path(mixfast.__file__).resolve()
        if not found.is_relative_to(Path(expected).resolve()):
            raise pytest.UsageError(f"mixfast should be imported from {expected}, but was imported from {found}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real tables next to the checkout; tests that need it are skipped if it is missing."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/data with the real tables does not exist")
    return folder
