"""Benchmarks: a module per workload, each with a `run` that returns figures and what they should reach. `python -m benchmarks`.

Ratios are taken between sides that run in turns, in the same process and loop type; every delivery is counted, its order checked.
"""
