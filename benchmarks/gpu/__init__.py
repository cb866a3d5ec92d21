"""Compare the GPU kernels with the limits of the device and with their peers: ``benchmarks/gpu.sh`` tests them first."""
