"""Settings shared by the whole suite."""

import html
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

# Triton reads this once, when first imported, which any test may cause. Without a GPU its kernels run interpreted.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Under nohup, or in the background of a shell, a process is started with signals ignored, and hands that on to the processes that the
# tests start and end. A handler is not handed on.
for _number in (signal.SIGINT, getattr(signal, "SIGHUP", None)):
    if _number is not None and signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else lambda number, frame: None)

# A command that fails in a process of its own shows its traceback.
os.environ.setdefault("MIXFAST_TRACEBACK", "1")

try:
    import hypothesis
except ImportError:
    pass
else:
    # Time limits for one example say more about the machine than about the code.
    hypothesis.settings.register_profile("mixfast", deadline=None)
    # For builds many times slower than the ordinary one: --hypothesis-profile=few
    hypothesis.settings.register_profile("few", deadline=None, max_examples=10)
    hypothesis.settings.load_profile("mixfast")

# What only callers of the library can use: commands speak of options. "In Python" announces it.
_PYTHON = re.compile(
    r"(?<!in Python: )(?<![\w.])(?:(?:Region|ExpertTable|Swarm|Mixture|Fit|Ledger|Design)(?:\.\w+)?\(|swarm\.\w+\(|(?:Region|ExpertTable|Swarm|Fit|Ledger)\.[a-z_]+"
    r"|(?:law|laws|kl|cap|floor|bounds|prior|folds|tasks|penalty|objective|method|backend|threads|ignore|metrics|seed|wear|tol|eps|features"
    r"|max_epochs|target_tokens|own|earlier)=(?!\.)[\w\[{'\"(]|mixfast\.(?:fit|propose|solve|design|laws|solver|readers|reuse|region)\b"
    r"|max_epochs|(?<!constraints\.)target_tokens|more_is_better|less_is_better)"
)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call `mixfast` in this process with any words: its exit status, and what it wrote to stdout and to stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        from mixfast import cli
        from mixfast._text.visible import is_visible

        capsys.readouterr()
        status = cli.main([str(word) for word in words])
        printed = capsys.readouterr()
        pages = [Path(str(word)) for word in words if str(word).endswith(".html")]
        # What a page shows beside the command that made it.
        shown = [
            re.sub(r"<(style|script|code)\b.*?</\1>|<[^>]*>", " ", page.read_text(), flags=re.S)
            for page in pages
            if page.is_file()
        ]
        # Nothing that was given acts on a terminal, or turns the direction of writing on a page.
        for text in (printed.out, printed.err, *map(html.unescape, shown)):
            assert is_visible(text, keep="\n")
            assert not _PYTHON.findall(text)
        return status, printed.out, printed.err

    return call


@pytest.fixture
def good(run: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Call `mixfast`, which must succeed and have nothing to say on stderr: what it wrote to stdout."""

    def call(*words: object) -> str:
        status, out, err = run(*words)
        assert (status, err) == (0, "")
        return out

    return call


@pytest.fixture
def refused(run: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Call `mixfast`, which must refuse with one line on stderr and exit status 2: that line.

    Commands that find a problem late may have reported to stdout by then.
    """

    def call(*words: object) -> str:
        status, _, err = run(*words)
        assert status == 2
        assert err.startswith("mixfast: error: ")
        assert err.count("\n") == 1
        return err

    return call


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run when MIXFAST_EXPECT names a folder and `mixfast` comes from somewhere else."""
    expected = os.environ.get("MIXFAST_EXPECT")
    if expected:
        import mixfast

        found = Path(mixfast.__file__).resolve()
        if not found.is_relative_to(Path(expected).resolve()):
            raise pytest.UsageError(f"mixfast was to be tested from {expected}, but it was imported from {found}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real tables beside the checkout; tests that need it are skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/data with the real tables is not there")
    return folder
