"""The parts of `benchmarks/gpu.py`: each measures one thing and returns it as JSON values."""
