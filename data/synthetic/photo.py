"""A photo: camera, expression, light, background and occluders around a person of `identity`."""

from __future__ import annotations

import math

import cv2
import numpy as np

from .face import CHART_HALF, Shot, box
from .identity import TEXELS_PER_PIXEL, Identity
from .layers import Sphere, band, expression, glasses, mix, occluder, surroundings, unit
from .match import Photo
from .warp import Warp

_F = np.float32


# How far the face moves on the screen as the head turns: photos are aligned by eyes and mouth, which takes it back.
ALIGN = (0.73, 0.63)


def draw_shot(rng: np.random.Generator) -> Shot:
    """A random photo: pose and alignment jitter of FFHQ-like crops, expression, light, glasses, occluder."""
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
    """Renders a person.

    Args:
        person: who.
        shot: everything else.
        size: side of the photo in pixels; the person's textures should be made for it.
    """
    head = person.head
    rng = np.random.default_rng(shot.scene_seed)
    pixel, density = head.half_width * shot.scale * size / 2, TEXELS_PER_PIXEL * size / 2
    warp = Warp(person.basis, shot)
    sketch = Sphere(head, shot, (size + 1) // 2)  # what is smooth is worked out at half the resolution
    image = _enlarge(surroundings(person, shot, sketch, rng), size)
    skin_light, hair_light, move_u, move_v = _enlarge(_lights(person, shot, warp, sketch, density / 2), size)

    sphere = Sphere(head, shot, size)
    p = sphere.chart(1.0)
    u, v = p[0] - move_u, p[1] - move_v
    skin = _sample(person.albedo, u, v, density, skin_light)
    gape = expression(skin, person, shot, u, v, skin_light, soft=size / 2)
    cover = sphere.cover(1.0, pixel)
    mix(image, cover, skin)
    is_face = (cover > 0.98) & ~gape
    is_hair = np.zeros_like(is_face)

    radius, rows = head.hair_radius, slice(0, _hair_end(person, shot, size))
    if rows.stop:
        above = sphere.part(rows)
        hair_u, hair_v = above.chart(radius)
        *hair, alpha = _sample(person.mane, hair_u, hair_v, density, hair_light[rows], opacity=True)
        alpha *= above.cover(radius, pixel)
        mix(image[:, rows], alpha, hair)
        is_hair[rows] = (alpha > 0.7) & (above.reach < radius - 1.5 / pixel)
        is_face[rows] &= alpha < 0.2
        np.copyto(u[rows], hair_u, where=is_hair[rows])
        np.copyto(v[rows], hair_v, where=is_hair[rows])
    layer = is_face.astype(_F)
    layer -= is_hair
    if shot.glasses:
        rows = band(p[1], head.eye[1], 0.2)
        on_face = cover[rows] * is_face[rows]
        layer[rows] *= ~glasses(image[:, rows], head, p[0][rows], p[1][rows], on_face, size / 2, rng)
    for plane, gain in zip(image, shot.tint, strict=True):
        plane *= gain
    if shot.occluder:
        layer *= ~occluder(image, rng)
    return Photo(unit(image), u, v, layer, shot, head, warp)


def _hair_end(person: Identity, shot: Shot, size: int) -> int:
    """Rows of the photo, from the top, in which hair can show before or beside the face."""
    if person.mane_low is None:
        return 0
    angle = 2 * math.atan(person.mane_low / (2 * person.head.half_height)) + abs(shot.pitch)
    reach = person.head.hair_radius
    low = reach * math.sin(min(angle, math.pi / 2))
    return box(person.head, shot, size, (0.0, 0.5 * (low - reach)), (reach, 0.5 * (low + reach)))[0].stop


def _lights(person: Identity, shot: Shot, warp: Warp, sphere: Sphere, density: float) -> list[np.ndarray]:
    """Light on face and on hair, and the displacement (U, V) of what the face shows; each (h, w)."""
    p = sphere.chart(1.0)
    q = warp.backward(*p)
    slope = _texels(person.relief, *q, density / 2)
    s, t, depth = sphere.points
    skin = _shade(shot, s - slope[..., 0], t - slope[..., 1], depth, gloss=0.12)
    hair = _shade(shot, *sphere.front(person.head.hair_radius), gloss=0.1)
    return [skin, hair, p[0] - q[0], p[1] - q[1]]


def _enlarge(planes, size: int) -> np.ndarray:
    """Planes (h, w) -> (n, size, size)."""
    out = np.empty((len(planes), size, size), _F)
    for plane, into in zip(planes, out, strict=True):
        cv2.resize(plane, (size, size), dst=into, interpolation=cv2.INTER_LINEAR)
    return out


def _texels(texture: np.ndarray, u: np.ndarray, v: np.ndarray, density: float) -> np.ndarray:
    """Texture (h, w, 4) at canonical points (H, W) -> (H, W, 4)."""
    column = u * density
    row = v * density
    column += CHART_HALF[0] * density - 0.5
    row += CHART_HALF[1] * density - 0.5
    return cv2.remap(texture, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _sample(texture: np.ndarray, u, v, density: float, light: np.ndarray, opacity: bool = False) -> np.ndarray:
    """8-bit texture at canonical points, lit: RGB planes (3, H, W) float32 in [0, 1], or 4 with the opacity."""
    planes = np.empty((3 + opacity, *u.shape), _F)
    gains = [light * _F(1 / 255)] * 3 + [_F(1 / 255)]
    for out, plane, gain in zip(planes, cv2.split(_texels(texture, u, v, density)), gains, strict=False):
        out[:] = plane
        out *= gain
    return planes


def _shade(shot: Shot, nx: np.ndarray, ny: np.ndarray, nz: np.ndarray, gloss: float) -> np.ndarray:
    """Wrapped diffuse light and a broad highlight (H, W), for unnormalised normals in the camera's axes."""
    norm = nx * nx
    norm += ny * ny
    norm += nz * nz
    norm = 1 / np.sqrt(norm)
    x, y, z = shot.light
    nz = nz * norm
    wrap = nx * x
    wrap += ny * y
    wrap *= norm
    wrap += nz * z
    shine = (wrap + nz) * (1 / (2 + 2 * z) ** 0.5)  # it looks half-way between light and camera
    for _ in range(4):
        shine *= shine
    wrap += 1
    wrap *= wrap
    wrap *= 0.205 * shot.contrast
    shine *= gloss * shot.gloss
    wrap += shine
    wrap += 1 - 0.66 * shot.contrast
    return wrap
