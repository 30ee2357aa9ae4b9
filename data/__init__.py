"""Data sets (`*_dataset.py`) and what they are made of: photos, pairs, degradation, collections, masks, people."""
