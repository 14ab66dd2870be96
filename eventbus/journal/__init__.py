"""Journals: durable, append-only logs of records with offsets, groups and dead letters.

`protocol` is what each can do, `values` what goes in and out; each folder is one backend. Knows nothing of events or buses.
"""
