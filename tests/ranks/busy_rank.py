"""A command whose ranks compute for minutes; `test_processes.py` ends one of them."""

import sys
import time
from pathlib import Path

from mixfast import __main__ as program
from mixfast.cli import _main
from mixfast.errors import MixfastError
from mixfast.ranks import Team


def busy(state, ready):
    if state["rank"] == 1:
        Path(ready).touch()
    until = time.monotonic() + 300
    while time.monotonic() < until:
        time.sleep(0.01)


def command(given):
    try:
        Team.of(None).each(busy, given[1])
    except MixfastError as error:
        return _main._say(str(error))
    except SystemExit as end:
        return end.code
    return 0


if __name__ == "__main__":
    # The ordinary command reads a table; this one is slow enough to be ended on purpose.
    _main._alone = command
    sys.argv = ["mixfast", "solve", sys.argv[1]]
    sys.exit(program.main())
