"""Check shell lines of pages that are not executed: commands must parse, and the extras and make targets must exist."""

import re
import shlex
import shutil
import subprocess
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from mixfast.cli._main import build_parser

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
TARGETS = set(re.findall(r"^([a-z][\w-]*):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
# Tokens that end a command within a line of shell.
ENDS = re.compile(r"(\|\||&&|[|;&<>()]+)")


def words_of(text):
    """Yield the words of each command of a shell text; continued lines are joined and comments removed."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>()")
        lexer.whitespace_split = True
        command = []
        for word in lexer:
            if ENDS.fullmatch(word):
                yield command
                command = []
            else:
                command.append(word)
        yield command


def program_of(words):
    """Return the arguments of `mixfast` in a command such as `srun python -m mixfast score ...`, or None."""
    for place, word in enumerate(words):
        if word == "mixfast" and (
            place == 0 or words[place - 1] == "-m" or words[0] in ("srun", "nohup", "time") or "=" in words[0]
        ):
            return words[place + 1 :]
    return None


def check_lines(text, where):
    """Check every command of a shell text."""
    for words in words_of(text):
        arguments = program_of(words)
        if arguments is not None:
            check_arguments(arguments, where)
        if "pip" in words and "install" in words:
            for extra in re.findall(r"(?:mixfast|\.)\[([\w,]+)\]", " ".join(words)):
                missing = set(extra.split(",")) - set(EXTRAS)
                assert not missing, f"{where}: pyproject.toml has no extra {missing}"
        if words[:1] == ["make"]:
            targets = {word for word in words[1:] if "=" not in word and not word.startswith("-")}
            assert targets <= TARGETS, f"{where}: the Makefile has no target {targets - TARGETS}"


def check_arguments(arguments, where):
    """Check that the parser of the command takes the arguments."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as err:
        try:
            _, rest = build_parser().parse_known_args(arguments)
            status = 0
        except SystemExit as end:
            status, rest = end.code, []
    command = shlex.join(["mixfast", *arguments])
    assert not status, f"{where}: {command}\n{err.getvalue()}"
    assert not rest, f"{where}: {command}: unknown arguments {rest}"


def check_bash(path, where):
    """Check the syntax of a bash file if bash is installed."""
    if shutil.which("bash"):
        done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
        assert done.returncode == 0, f"{where}: {done.stderr}"
