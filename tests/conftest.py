"""Before any test imports basicsr: the import hook that makes it work on current libraries and registers refstar."""

import refstar  # noqa: F401
