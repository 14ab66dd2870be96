"""Durability: one event made to survive: a writing station before or behind the dispatch, groups that resume, what is kept aside."""
