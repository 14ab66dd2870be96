"""Benchmarks: one table of rows, each with what is asked of it, all measured in one run. `python -m benchmarks`.

A row is the bus beside a bare queue loop (put, get, await handler) unless it says otherwise: both in turns, in one process, by
processor time, medians over rounds. Every delivery is counted and its order checked.
"""
