"""Procedural people: who they are, how they are painted, and photos of them with their exact truth."""
