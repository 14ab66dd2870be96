"""Monitoring: health, alerts and reports."""
