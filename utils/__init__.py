"""Foundations that every other folder may use: errors, files, weights."""
