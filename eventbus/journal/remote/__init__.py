"""Remote: what every journal on a server needs on this side of the wire, whatever server it is.

`gathering` sends one call at a time while the next gathers, `cursors` keeps the cursors of parts between commits, `arrivals` knows
the end of the log and wakes those who wait for more, `reader` looks from outside. Knows no driver.
"""
