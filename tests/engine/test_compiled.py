"""Compiled loops run whatever becomes of the cache of their machine code."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("numba")

from mixfast._engine.backend import compiled as module
from mixfast.errors import MixfastWarning

JOB = """
import warnings
warnings.simplefilter("always")
from mixfast._engine.backend.compiled import compiled

@compiled()
def twice(x):
    return 2 * x

print(twice(2.0))
"""


def job(file, cache, **more):
    """Return what a process that calls a compiled loop says on stderr."""
    file.write_text(JOB)
    done = subprocess.run(
        [sys.executable, file],
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        **more,
    )
    assert (done.returncode, done.stdout) == (0, "4.0\n"), done.stderr
    return done.stderr


@pytest.fixture
def fresh():
    module._fallback.cache_clear()
    module._warned.clear()
    yield
    module._fallback.cache_clear()
    module._warned.clear()


def twice(x):
    return 2 * x


def test_without_a_folder_the_code_is_kept_in_a_private_one(tmp_path, monkeypatch, fresh):
    tmp_path.chmod(0o755)
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(module.config, "CACHE_DIR", "")
    monkeypatch.setattr(module._Cache._impl_class, "_locator_classes", module._Cache._impl_class._locator_classes[:1])
    loop = module.compiled()(twice)
    assert loop(2.0) == 4.0
    (made,) = tmp_path.iterdir()
    assert made.stat().st_mode & 0o777 == 0o700
    assert [path.suffix for path in sorted(made.rglob("*.nb*"))] == [".nbc", ".nbi"]
    assert module.config.CACHE_DIR == ""
    assert module.compiled()(twice)(2.0) == 4.0


def test_threads_leave_the_setting_of_numba_as_it_was(tmp_path, monkeypatch, fresh):
    tmp_path.chmod(0o755)
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(module.config, "CACHE_DIR", "")
    real = module._Cache
    together, inside = threading.Barrier(2, timeout=60), []

    def slow(function):
        # The first attempt of each thread finds no folder; the second one runs with the changed setting.
        if module.config.CACHE_DIR == "":
            together.wait()
            raise RuntimeError("no locator available")
        inside.append(module.config.CACHE_DIR)
        time.sleep(0.05)
        assert module._setting.locked()
        return real(function)

    monkeypatch.setattr(module, "_Cache", slow)
    threads = [threading.Thread(target=module._cache_of, args=(twice,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside == [str(tmp_path / f"mixfast-numba-{os.geteuid()}")] * 2
    assert module.config.CACHE_DIR == ""


def test_without_any_folder_the_loops_are_compiled_and_one_warning_says_so(tmp_path, monkeypatch, fresh):
    (tmp_path / f"mixfast-numba-{os.geteuid()}").symlink_to(tmp_path)
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(module.config, "CACHE_DIR", "")
    monkeypatch.setattr(module._Cache._impl_class, "_locator_classes", [])
    with pytest.warns(MixfastWarning, match="NUMBA_CACHE_DIR") as told:
        assert [module.compiled()(twice)(2.0), module.compiled(fastmath=True)(twice)(3.0)] == [4.0, 6.0]
    assert len(told) == 1
    assert list(tmp_path.iterdir()) == [tmp_path / f"mixfast-numba-{os.geteuid()}"]


@pytest.mark.slow
@pytest.mark.process
def test_a_full_disk_and_damaged_files_change_nothing(tmp_path):
    cache = tmp_path / "cache"

    def full():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))

    assert job(tmp_path / "job.py", cache) == ""
    files = sorted(cache.rglob("*.nb*"))
    assert len(files) == 2
    assert job(tmp_path / "job.py", tmp_path / "other", preexec_fn=full).count("Numba has no folder") == 1
    for path in files:
        path.write_bytes(path.read_bytes()[:40])
    assert job(tmp_path / "job.py", cache) == ""
    assert sorted(cache.rglob("*.nb*")) == files
    assert min(path.stat().st_size for path in files) > 40
