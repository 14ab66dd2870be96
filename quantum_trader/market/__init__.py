"""Market: bars, their source and the clock of sessions."""
