#!/usr/bin/env bash
# Everything that needs a GPU, in one run: the kernels' tests on the device, then the timings of benchmarks/gpu/.
# Without a GPU: the same tests under Triton's interpreter, one line, and status 0. Arguments go to `python -m benchmarks.gpu`.
#
#   benchmarks/gpu.sh                     all sets, results appended to benchmarks/results/gpu_*.csv
#   benchmarks/gpu.sh --set head --quick  a minute
#
# PYTHON names a python with torch and triton; its torch must be a CUDA build for the timings.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo "$root/.venv/bin/python" || echo python3)}
if ! "$PYTHON" -c 'import mixfast.kernels, mixfast._engine.backend.rows' 2>/dev/null; then
    # A python with torch but without mixfast: built beside the sources, and used from there, since in this folder
    # `import mixfast` finds the sources, which have no core.
    "$PYTHON" -m pip install --quiet --no-deps --no-build-isolation --upgrade --target build/gpu . || {
        echo "mixfast was not built: $PYTHON needs setuptools >= 77, Cython >= 3.1 and a C compiler"
        exit 1
    }
    cd build/gpu
    export PYTHONPATH="$root/build/gpu:$root"
fi

# A kernel whose tests fail is not timed.
"$PYTHON" -m pytest -q -p no:cacheprovider "$root"/tests/kernels "$root"/tests/solver/test_cuda.py
exec "$PYTHON" -m benchmarks.gpu "$@"
