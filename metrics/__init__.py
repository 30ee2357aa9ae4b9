"""Metrics, registered in BasicSR's METRIC_REGISTRY."""
