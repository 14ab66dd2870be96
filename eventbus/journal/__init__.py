"""Journals: durable, append-only logs of records with offsets, groups and dead letters.

`base` is the protocol and its values; each other module is one backend. Knows nothing of events, codecs or buses.
"""
