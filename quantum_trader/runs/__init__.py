"""Runs: a run in a folder of its own, that survives its process and can be continued, checked, compared and explained."""
