"""Venues: what a broker's adapter must be, a paper one of that shape, what watches over either, and the tests both must pass."""
