"""BasicSR's trainer, mended and completed: what is wrong in it, option files, resuming."""
