"""Web: the trading panels of the dashboard: what they show, and the commands that come from them.

Reads the events of a run as everybody does, and commands it as `qt` does.
"""
