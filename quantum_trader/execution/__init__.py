"""Execution: orders, fills and the ledger."""
