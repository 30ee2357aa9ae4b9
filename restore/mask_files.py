"""Selection masks in files: written for looking at and editing, and read back (`--ref_mask_dir`)."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import Picture, decode_image, write_picture

from .attribution import attribution_map, colours, overlay
from .face_plan import Plan, Result
from .unique_names import unique

ATTRIBUTION = 'attribution'  # name of the map that lies beside the masks


def mask_names(references: list[str]) -> list[str]:
    """A file name for every reference, without suffix: its own, numbered where two are alike."""
    names = (re.sub(r'[\x00-\x1f/\\:*?"<>|]', '_', Path(reference).stem) or 'reference' for reference in references)
    return unique(names, [ATTRIBUTION], '{}_{}')


def write_masks(folder: Path, result: Result) -> None:
    """For every reference its selection and a picture of it; and the attribution map with its colours.

    Args:
        folder: of this face.
        result: the restored face.
    """
    for name, choice, mask in zip(
        mask_names([choice.reference.name for choice in result.chosen]), result.chosen, result.mask, strict=True
    ):
        grey = np.repeat(np.rint(mask * 255).astype(np.uint8)[..., None], 3, 2)
        write_picture(folder / f'{name}.png', Picture(grey, grey=True))
        write_picture(folder / f'{name}_overlay.jpg', Picture(overlay(choice.reference.crop, mask)))
    write_picture(folder / f'{ATTRIBUTION}.png', Picture(attribution_map(result.image, result.attribution)))


def legend(result: Result) -> dict[str, str]:
    """Colour of every reference in the attribution map, as `#rrggbb`."""
    rows = colours(len(result.chosen))
    return {c.reference.name: '#{:02x}{:02x}{:02x}'.format(*row) for c, row in zip(result.chosen, rows, strict=True)}


def read_masks(plan: Plan, folders: list[Path]) -> Plan:
    """The plan with masks by hand: `<folder>/<reference's stem>.png`, white where the reference may be used.

    Args:
        plan: of a face.
        folders: where to look; the first that has a mask of a reference counts.

    Raises:
        RefStarError: a mask cannot be read or is not square.
    """
    chosen = []
    for name, choice in zip(mask_names([c.reference.name for c in plan.chosen]), plan.chosen, strict=True):
        path = next((folder / f'{name}.png' for folder in folders if (folder / f'{name}.png').is_file()), None)
        if path is not None:
            mask = decode_image(path, 'L').astype(np.float32) / 255
            if mask.shape[0] != mask.shape[1]:
                raise RefStarError(f'{path}: {mask.shape[1]}x{mask.shape[0]} is not square; masks are of aligned faces')
            choice = replace(choice, reference=replace(choice.reference, mask=mask, encoded=None))
        chosen.append(choice)
    return replace(plan, chosen=chosen)
