"""How fast `mixfast` is, next to its peers and to the machine's own limits: ``python -m benchmarks --set solve``."""
