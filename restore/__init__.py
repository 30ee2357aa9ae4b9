"""Library that restores photos with references: `refstar restore`, `refstar bank`, `refstar app` and `Restorer`."""

import basicsr  # noqa: F401  (first: fills BasicSR's registries with the networks of this project)
