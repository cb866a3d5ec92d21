"""Settings shared by the whole suite."""

import os
from pathlib import Path

import pytest

# Triton reads this once, when first imported, which any test may cause. Without a GPU its kernels run interpreted.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

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

ROOT = Path(__file__).resolve().parent.parent


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
