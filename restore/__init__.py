"""Restoring photos with references: the library behind `refstar restore` and `refstar bank`."""

import basicsr  # noqa: F401  (first: fills BasicSR's registries with the networks of this project)
