"""Market: bars and what can be computed from them, on the way from a file to a session's prices.

Errors, calendar and adjustment at the bottom; the file layout above them; data set and CSV import on top. Knows no
event.
"""
