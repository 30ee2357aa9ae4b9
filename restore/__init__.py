"""Library that restores photos with references: `refstar restore`, `refstar bank`, `refstar app` and `Restorer`."""

from refstar import light_arch, refstar_arch  # noqa: F401  (networks of the file that ships: no need for BasicSR)
