"""Control: the components that allow, limit, halt and rebalance."""
