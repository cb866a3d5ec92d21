"""Build of the compiled core; every piece of metadata is in pyproject.toml.

Switches (environment variables, read when building)::

    MIXFAST_SANITIZE=1   AddressSanitizer and UndefinedBehaviorSanitizer; run with libasan preloaded (`make sanitize`)
    MIXFAST_DEBUG=1      no optimisation, debug symbols
    MIXFAST_SYMBOLS=1    the release build with its symbols, for a profiler
    MIXFAST_WHEEL=tag    one wheel for Python 3.11 and newer (abi3) with this platform tag; CC and LDSHARED name a
                         compiler for that platform (`make wheels`)
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

ROOT = Path(__file__).resolve().parent


def switch(name: str) -> bool:
    return os.environ.get(name, "0") not in ("", "0")


def files(*patterns: str) -> list[str]:
    """Return the files of the core by their paths relative to the project, which setuptools requires."""
    found = (path for pattern in patterns for path in (ROOT / "csrc").glob(pattern))
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def extension(library: str, *shared: str) -> Extension:
    """Return the module of one library: csrc/<library>.pyx, the C files of csrc/<library>/, interrupt.c and the named shared files.

    The .pyx is passed as it is: `cythonize` would replace it by the generated C file, and the sdist would lack it.
    """
    return Extension(
        f"mixfast._engine.backend.{library}",
        sources=[f"csrc/{library}.pyx", *files(f"{library}/*.c", "shared/interrupt.c", *shared)],
        depends=files(f"{library}/*.h", "shared/*.h", "simplex/*.h", "shared/*.pxi"),
        extra_compile_args=compile_args,
        extra_link_args=link_args,
        # Memoryviews need the buffer protocol, which the stable ABI has since 3.11.
        define_macros=[("Py_LIMITED_API", "0x030B0000")] if WHEEL else [],
        py_limited_api=bool(WHEEL),
    )


SANITIZE, DEBUG, SYMBOLS = switch("MIXFAST_SANITIZE"), switch("MIXFAST_DEBUG"), switch("MIXFAST_SYMBOLS")
WHEEL = os.environ.get("MIXFAST_WHEEL", "")

# -fno-math-errno lets the compiler use vector square roots and logarithms; it changes no result, unlike -ffast-math,
# which would break the NaN and infinity rules the tables rely on.
# -fno-trapping-math lets GCC vectorise loops that choose between two values, also below AVX-512. It changes no result.
# gnu11 and -ffp-contract=fast let a product and a sum become one fused instruction, which is also more exact.
compile_args = [
    "-std=gnu11",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fvisibility=hidden",
    "-pthread",
]
link_args = ["-pthread"]
if SANITIZE:
    checks = "-fsanitize=address,undefined"
    # Stack traces need -g1; with -g the compiler takes a quarter longer. At -O1, products and sums are fused only with the second option.
    compile_args += ["-O1", "-fexpensive-optimizations", "-g1", "-fno-omit-frame-pointer"]
    compile_args += ["-fno-sanitize-recover=undefined", checks]
    link_args += [checks]
elif DEBUG:
    compile_args += ["-O0", "-g3"]
else:
    compile_args += ["-O3", "-g" if SYMBOLS else "-g0"]
    if (WHEEL or sys.platform).startswith(("linux", "manylinux")) and not SYMBOLS:
        link_args += ["-Wl,-s"]  # with -g0: a wheel a fifth of the size

# setuptools does not notice changed flags, so each kind of build has a folder of its own.
kind = WHEEL or ("sanitize" if SANITIZE else "debug" if DEBUG else "release")
options = {"build": {"build_base": f"build/{kind}"}}
if WHEEL:
    options["bdist_wheel"] = {"plat_name": WHEEL, "py_limited_api": "cp311"}

setup(
    ext_modules=[
        extension("laws", "shared/isa.c"),
        extension("rows", "shared/guard.c", "shared/isa.c", "shared/pool.c", "simplex/*.c"),
        extension("simplex"),
        extension("stream", "shared/isa.c"),
    ],
    options=options,
)
