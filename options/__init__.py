"""Option files, one per experiment a user would run (demo/, train/, test/)."""
