"""BasicSR models: training step, validation, checkpoints."""
