"""The report as a page: one file that needs no network, read on a screen or a phone, in light or dark."""
