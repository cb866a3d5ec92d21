"""The GPU kernels beside the limits of the device and beside their peers: ``benchmarks/gpu.sh`` tests them first."""
