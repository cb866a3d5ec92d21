#!/usr/bin/env bash
# Everything that needs a GPU, in one run: the kernels' tests on the device, then the timings of benchmarks/gpu.py.
# Without a GPU: the same tests under Triton's interpreter, one line, and status 0. Arguments go to benchmarks/gpu.py.
#
#   benchmarks/gpu.sh                     all sets, results appended to benchmarks/results/gpu_*.csv
#   benchmarks/gpu.sh --set head --quick  a minute
#
# PYTHON names a python with torch and triton; its torch must be a CUDA build for the timings.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
if ! "$PYTHON" -c 'import mixfast.kernels, mixfast._core' 2>/dev/null; then
    # A python with a GPU torch, but without mixfast: built once into a venv that sees that python's packages.
    "$PYTHON" -m venv --system-site-packages build/gpu
    build/gpu/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
    PYTHON=build/gpu/bin/python
fi

# A kernel whose tests fail is not timed.
"$PYTHON" -m pytest -q -p no:cacheprovider tests/test_kernels.py tests/test_token_logprob.py $(ls tests/test_cuda*.py 2>/dev/null)
exec "$PYTHON" -m benchmarks.gpu "$@"
