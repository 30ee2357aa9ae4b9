"""Datasets, degradation, manifests, synthetic identities."""
