"""A photo of a person of `identity`: camera, expression, light, background, occluders; and what two photos share."""

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from .head_geometry import CHART_HALF, FACE, HAIR, SCENE, Head, Projection, Shot, Warp, displacement, screen_grid
from .identity import TEXELS_PER_PIXEL, Identity
from .photo_layers import close_eyes, occlude_photo, open_mouth, shade, surroundings, unit, wear_glasses

# How far the face moves on the screen as the head turns: photos are aligned by eyes and mouth, which takes it back.
ALIGN = (0.73, 0.63)
GRAZING = 0.22  # surface seen at a steeper angle than this (cosine) counts as hidden


@dataclass
class Photo:
    """A rendered photo with its exact maps; all arrays float32."""

    planes: np.ndarray  # (3, H, W) RGB in [0, 1]
    u: np.ndarray  # (H, W) canonical coordinates of what the pixel shows, where that is face or hair
    v: np.ndarray
    layer: np.ndarray  # (H, W) SCENE / FACE / HAIR
    shot: Shot
    head: Head
    warp: Warp = field(repr=False)

    @property
    def image(self) -> np.ndarray:
        """The photo as (H, W, 3) RGB in [0, 1]."""
        return cv2.merge(list(self.planes))


def draw_shot(rng: np.random.Generator) -> Shot:
    """Draw a random photo: pose and alignment jitter of FFHQ-like crops, expression, light, glasses, occluder."""
    draws = iter(rng.random(24).tolist())

    def between(low: float, high: float) -> float:
        return low + (high - low) * next(draws)

    yaw, pitch = between(-0.33, 0.33), between(-0.13, 0.13)
    mouth, smile, brow = next(draws), next(draws), next(draws)
    side = 0.4 * between(-1, 1)
    light = between(-0.75, 0.75), between(-0.7, 0.15), 0.9
    far = math.hypot(*light)
    gain, warmth = between(0.88, 1.1), between(-0.06, 0.06)
    eyes = 1.0 if next(draws) < 0.9 else (0.0, 0.45)[next(draws) < 0.5]
    return Shot(
        yaw=yaw,
        pitch=pitch,
        roll=rng.normal(0, 0.03),
        scale=between(1.26, 1.36),
        shift=(
            between(-0.02, 0.02) - ALIGN[0] * math.sin(yaw),
            0.05 + between(-0.02, 0.02) - ALIGN[1] * math.sin(pitch),
        ),
        mouth=0.0 if mouth < 0.55 else (mouth - 0.35) / 0.65,
        smile=0.0 if smile < 0.5 else 2 * smile - 1,
        eyes=eyes,
        brows=(0.0, 0.0) if brow < 0.6 else (min(0.6 + side, 1.0), min(0.6 - side, 1.0)),
        light=tuple(axis / far for axis in light),
        tint=(gain * (1 + warmth), gain, gain * (1 - warmth)),
        contrast=between(0.6, 1.0),
        glasses=next(draws) < 0.08,
        occluder=next(draws) < 0.08,
        scene_seed=int(next(draws) * 2**31),
    )


def take_photo(person: Identity, shot: Shot, size: int) -> Photo:
    """Render a person; `size` is the side of the photo in pixels, for which the person's textures should be made."""
    rng = np.random.default_rng(shot.scene_seed)
    head, projection, warp = person.head, Projection(person.head, shot), Warp.of(person.basis, shot)
    density, soft = TEXELS_PER_PIXEL * size / 2, size / 2
    image, skin_light, hair_light, move = _smooth_parts(person, shot, projection, warp, size, rng)

    s, t = projection.screen_to_disc(*screen_grid(size, size))
    reach = np.sqrt(s * s + t * t)
    pixel = head.half_width * shot.scale * size / 2  # pixels in a unit of s
    displaced = projection.disc_to_chart(s, t, 1.0)
    u, v = displaced[0] - move[0], displaced[1] - move[1]
    skin = _texels(person.albedo, u, v, density)
    if shot.eyes < 0.99:
        close_eyes(skin, u, v, person, shot, soft)
    gape = open_mouth(skin, u, v, head, shot, soft) if shot.mouth > 0.02 else np.zeros(u.shape, bool)
    cover = unit((1 - reach) * pixel + 0.5)
    image += cover * (skin * skin_light - image)

    hair_u, hair_v = projection.disc_to_chart(s, t, head.hair_radius)
    mane = _texels(person.mane, hair_u, hair_v, density)
    opacity = mane[3] * unit((head.hair_radius - reach) * pixel + 0.5)
    image += opacity * (mane[:3] * hair_light - image)
    image *= np.float32(shot.tint)[:, None, None]

    is_hair = (opacity > 0.7) & (reach < head.hair_radius - 1.5 / pixel)
    is_face = (cover > 0.98) & (opacity < 0.2) & ~gape
    if shot.glasses:
        is_face &= ~wear_glasses(image, *displaced, is_face, head, shot, rng)
    layer = np.where(is_hair, HAIR, np.where(is_face, FACE, SCENE))
    if shot.occluder:
        layer *= ~occlude_photo(image, rng)
    u, v = np.where(is_hair, hair_u, u), np.where(is_hair, hair_v, v)
    return Photo(unit(image), u, v, layer, shot, head, warp)


def _smooth_parts(
    person: Identity, shot: Shot, projection: Projection, warp: Warp, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Work out at half the resolution what is smooth in a photo, and enlarge it.

    Returns:
        What lies behind the face, RGB (3, S, S); light on face and hair, each (S, S); displacement (U, V), (2, S, S).
    """
    half, radius = (size + 1) // 2, person.head.hair_radius
    s, t = projection.screen_to_disc(*screen_grid(half, size / 2))
    behind = surroundings(person, shot, s, t, person.head.half_width * shot.scale * size / 4, rng)
    u, v = projection.disc_to_chart(s, t, 1.0)
    move = displacement(warp.backward, u, v)
    # the relief is painted with half the albedo's density: what shows is its upper left quarter
    slope_u, slope_v = _texels(person.relief, u - move[0], v - move[1], TEXELS_PER_PIXEL * size / 8)
    square = s * s + t * t
    skin = shade(shot, s - slope_u, t - slope_v, np.sqrt(np.abs(square - 1)), gloss=0.12)
    hair = shade(shot, s, t, np.sqrt(np.abs(square - radius * radius)), gloss=0.1)
    planes = np.empty((7, size, size), np.float32)
    for plane, small in zip(planes, (*behind, skin, hair, *move), strict=True):
        plane[:] = cv2.resize(small, (2 * half, 2 * half), interpolation=cv2.INTER_LINEAR)[:size, :size]
    return planes[:3], planes[3], planes[4], planes[5:]


def _texels(texture: np.ndarray, u: np.ndarray, v: np.ndarray, density: float) -> np.ndarray:
    """Interpolate a texture (h, w, n), float32 or 8-bit, at canonical points (H, W): (n, H, W), [0, 1] of 8-bit.

    `density` is the number of texels in a canonical unit.
    """
    column, row = ((x + half) * density - 0.5 for x, half in zip((u, v), CHART_HALF, strict=True))
    found = cv2.split(cv2.remap(texture, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    if texture.dtype == np.float32:
        return np.stack(found)
    return np.stack([np.multiply(plane, np.float32(1 / 255), dtype=np.float32) for plane in found])


def correspond(photo: Photo, other: Photo) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the exact correspondence from the pixels of one photo to another photo of the same person.

    Returns:
        flow: (2, H, W) float32, sampling position (x, y) in ``other`` in grid_sample's convention
            (align_corners=False); the pixel's own position where nothing is known.
        visible: (H, W) bool, the pixel shows a point of the person that ``other`` shows too.
        selected: (H, W) bool, ``visible`` without lips or eyes whose state differs.
    """
    u, v, layer = photo.u, photo.v, photo.layer
    is_face = layer > 0
    moved_u, moved_v = (move * is_face for move in displacement(other.warp.forward, u, v))  # hair is not displaced
    radius = np.where(is_face, np.float32(1), np.float32(photo.head.hair_radius))
    projection = Projection(photo.head, other.shot)
    s, t, cosine = projection.chart_to_disc(u + moved_u, v + moved_v, radius)
    x, y = projection.disc_to_screen(s, t)
    columns, rows = (
        (axis + 1) * (0.5 * side) - 0.5 for axis, side in zip((x, y), other.layer.shape[::-1], strict=True)
    )
    shown = layer * cv2.remap(other.layer, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    visible = (shown > 0.7) & (cosine > GRAZING)  # the same layer lies on top here and there
    flow = np.where(visible, np.stack([x, y]), screen_grid(len(layer), len(layer)))

    changed = np.zeros_like(visible)
    (eye_u, eye_v), (half_u, half_v), (mouth_half, mouth_v, lip) = photo.head.eye, photo.head.eye_half, photo.head.mouth
    if abs(photo.shot.eyes - other.shot.eyes) > 0.1:
        changed |= _inside_ellipse(np.abs(u) - eye_u, v - eye_v, 1.3 * half_u, 1.3 * half_v)
    if abs(photo.shot.mouth - other.shot.mouth) > 0.15:
        changed |= _inside_ellipse(u, v - mouth_v, 1.2 * mouth_half, 1.9 * lip)
    return flow, visible, visible & ~(changed & is_face)


def _inside_ellipse(u: np.ndarray, v: np.ndarray, half_u: float, half_v: float) -> np.ndarray:
    across, down = u * (1 / half_u), v * (1 / half_v)
    return across * across + down * down < 1
