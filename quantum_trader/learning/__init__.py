"""Learning: evaluation of strategies and models, and what is drawn from it."""
