"""What users bring: strategies, checks and components of their own, loaded, run and judged like the rest of the system."""
