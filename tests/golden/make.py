"""Record the golden answers. Run this by hand, and rarely: a recorded answer is only as good as the version that computed it.

    python tests/golden/make.py                          record every case in tests/golden/data/
    python tests/golden/make.py caps_of_tokens law_gp    record these cases
    python tests/golden/make.py --show                   print how far this checkout is from the recorded answers

The answers come from the commit before the package was divided into rooms (f7ed737). Record a case again only if its answer is meant to
change, and name the case and the reason in the commit. To record from another checkout, put it on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from golden.answers import DATA, distance, read, write
from golden.cases import CASES


def show(name: str) -> None:
    """Print the quantities that differ from the recorded ones, with the difference and the tolerance."""
    then, now = read(name), CASES[name].compute()
    for key in sorted(set(then) | set(now)):
        far = distance(key, now[key], then[key]) if key in now and key in then else float("inf")
        if far:
            print(f"{far:9.1e}  (allowed {CASES[name].allowed(key):.0e})  {name}: {key}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="CASE", help="default: all")
    parser.add_argument("--show", action="store_true", help="compare, and record nothing")
    given = parser.parse_args()
    DATA.mkdir(exist_ok=True)
    for name in given.names or CASES:
        show(name) if given.show else write(name, CASES[name].compute())


if __name__ == "__main__":
    main()
