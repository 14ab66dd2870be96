"""Feeds: bars from outside, finite or live: how they are read, watched, put into sessions, and journalled before anybody acts."""
