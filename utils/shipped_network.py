"""The small network that ships with the package, so that every command does something real on a fresh machine."""

from importlib.resources import files
from pathlib import Path

SHIPPED = Path(str(files('refstar') / 'pretrained' / 'refstar_small_128.safetensors'))  # made by `make small`
ABOUT = 'the small network that ships (128 px, trained on synthetic faces: to try things out, not for photos)'
