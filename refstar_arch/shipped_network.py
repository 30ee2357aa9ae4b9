"""The small network that ships with the package, so that every command does something real on a fresh machine."""

from pathlib import Path

SHIPPED = Path(__file__).parent / 'pretrained' / 'refstar_small_128.safetensors'  # made by `make small`
ABOUT = 'the small network that ships (128 px, trained on synthetic faces: to try things out, not for photos)'
