"""Shell completion: the scripts parse, and bash completes commands, options, their values and files."""

import shutil
import subprocess
import sys

import pytest

from mixfast.cli._completion import SHELLS
from mixfast.exporters import FORMATS

pytest.importorskip("shtab")
pytestmark = pytest.mark.process

BASH = """
source ./completion.bash
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()
_shtab_mixfast mixfast "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def completed(run, tmp_path):
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    status, out, _ = run("--print-completion", "bash")
    assert status == 0
    (tmp_path / "completion.bash").write_text(out)
    (tmp_path / "counts.yaml").touch()

    def complete(*words):
        done = subprocess.run(
            ["bash", "-c", BASH.format(words=" ".join(f"'{word}'" for word in words))],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.split()

    return complete


def test_bash_takes_the_script(completed, tmp_path):
    assert subprocess.run(["bash", "-n", tmp_path / "completion.bash"], check=False).returncode == 0


def test_bash_completes_commands_options_words_and_files(completed):
    assert completed("mixfast", "so") == ["solve"]
    assert completed("mixfast", "solve", "--obj") == ["--objective"]
    assert completed("mixfast", "reuse", "pa") == ["partition"]
    assert completed("mixfast", "solve", "table.npz", "--method", "ne") == ["newton"]
    assert completed("mixfast", "solve", "table.npz", "--tokens", "coun") == ["counts.yaml"]
    assert completed("mixfast", "collect", "runs", "--format", "lm-eval-s") == ["lm-eval-samples"]
    assert completed("mixfast", "collect", "coun") == ["counts.yaml"]
    assert completed("mixfast", "export", "m.yaml", "--to", "mega") == [
        name for name in FORMATS if name.startswith("mega")
    ]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_has_a_script_that_its_own_parser_takes(run, tmp_path, shell):
    status, out, err = run("--print-completion", shell)
    assert (status, err) == (0, "")
    assert "mixfast" in out
    if shutil.which(shell):
        path = tmp_path / "script"
        path.write_text(out)
        assert subprocess.run([shell, "-n", path], check=False).returncode == 0


def test_without_shtab_the_extra_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    status, out, err = run("--print-completion", "bash")
    assert (status, out) == (2, "")
    assert "pip install 'mixfast[cli]'" in err
