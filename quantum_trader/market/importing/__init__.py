"""Importing: a user's file of bars, from bytes to rows to bars.

In the order of the walk: `opening` (bytes to text), `table` (text to rows), `heads` (which column is what), `dates` and `numerals`
(how cells are written, judged over the whole file), `rows` (rows to bars, every fault told).
"""
