"""A photo: camera, expression, light, background and occluders around a person of `synthetic_identity`."""

from __future__ import annotations

import math

import cv2
import numpy as np

from .synthetic_face import (
    CHART_HALF,
    Head,
    Photo,
    Shot,
    Warp,
    box,
    disc_to_chart,
    head_to_screen,
    pixel_grid,
    screen_to_head,
)
from .synthetic_identity import TEXELS_PER_PIXEL, Identity
from .synthetic_paint import smooth_noise

_F = np.float32


def draw_shot(rng: np.random.Generator) -> Shot:
    """A random photo: pose and alignment jitter of FFHQ-like crops, expression, light, glasses, occluder."""
    yaw, pitch = rng.uniform(-0.44, 0.44), rng.uniform(-0.2, 0.2)
    mouth, smile, brow = rng.random(3).tolist()
    side = 0.4 * rng.uniform(-1, 1)
    light = rng.uniform(-0.75, 0.75), rng.uniform(-0.7, 0.15), 0.9
    far = math.hypot(*light)
    gain, warmth = rng.uniform(0.88, 1.1), rng.uniform(-0.06, 0.06)
    eyes = 1.0 if rng.random() < 0.72 else (0.0, 0.45)[rng.integers(2)]
    return Shot(
        yaw=yaw,
        pitch=pitch,
        roll=rng.normal(0, 0.05),
        scale=rng.uniform(0.93, 1.05),
        shift=(rng.uniform(-0.04, 0.04), 0.05 + rng.uniform(-0.03, 0.03)),
        mouth=0.0 if mouth < 0.55 else (mouth - 0.35) / 0.65,
        smile=0.0 if smile < 0.5 else 2 * smile - 1,
        eyes=eyes,
        brows=(0.0, 0.0) if brow < 0.6 else (min(0.6 + side, 1.0), min(0.6 - side, 1.0)),
        light=tuple(axis / far for axis in light),
        tint=(gain * (1 + warmth), gain, gain * (1 - warmth)),
        contrast=rng.uniform(0.6, 1.0),
        glasses=rng.random() < 0.14,
        occluder=rng.random() < 0.14,
        scene_seed=int(rng.integers(2**31)),
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
    warp = Warp(person.basis, shot)
    density = TEXELS_PER_PIXEL * size / 2.0
    pixel = _F(head.half_width * shot.scale * size / 2.0)  # pixels in a unit of s
    image = _surroundings(person, shot, size, rng)
    light = _lights(person, shot, warp, size)
    canon_u, canon_v, layer = np.zeros((3, size, size), _F)

    rows, columns = at = box(head, shot, size, 1.0, -1.0, 1.0)
    s, t, reach, depth = _sphere(head, shot, size, at, 1.0)
    p = disc_to_chart(head, shot, s, t, depth, 1.0)
    u, v = warp.backward(*p)
    skin = _sample(person.albedo, u, v, density)[:3]
    inside = _expression(skin, person, shot, u, v, soft=_F(size / 2.0))
    cover = np.clip((1 - reach) * pixel + _F(0.5), 0, 1)
    face = image[:, rows, columns]
    skin *= light[0][at]
    skin -= face
    skin *= cover
    face += skin
    canon_u[at], canon_v[at], layer[at] = u, v, (cover > 0.98) & ~inside

    if person.mane_low is not None:
        radius = head.hair_radius
        lowest = min(2 * np.arctan(person.mane_low / (2 * head.half_height)) + abs(shot.pitch), np.pi / 2)
        at = box(head, shot, size, radius, -radius, radius * np.sin(lowest))
        s, t, reach, depth = _sphere(head, shot, size, at, radius)
        u, v = disc_to_chart(head, shot, s, t, depth, radius)
        mane = _sample(person.mane, u, v, density)
        alpha = mane[3] * np.clip((_F(radius) - reach) * pixel + _F(0.5), 0, 1)
        mane = mane[:3]
        mane *= light[1][at]
        behind = image[:, at[0], at[1]]
        mane -= behind
        mane *= alpha
        behind += mane
        hair = (alpha > 0.7) & (reach < radius - 1.5 / pixel)
        np.copyto(canon_u[at], u, where=hair)
        np.copyto(canon_v[at], v, where=hair)
        layer[at] = layer[at] * (alpha < 0.2) - hair
        cover *= layer[rows, columns] > 0
    if shot.glasses:
        layer[rows, columns] *= ~_glasses(face, head, *p, cover, soft=_F(size / 2.0), rng=rng)
    image *= np.asarray(shot.tint, _F)[:, None, None]
    if shot.occluder:
        layer *= ~_occluder(image, rng)
    np.minimum(image, 1, out=image)
    np.maximum(image, 0, out=image)
    return Photo(image, canon_u, canon_v, layer, shot, head, warp)


def _sphere(head: Head, shot: Shot, size: int, at: tuple, radius: float) -> tuple[np.ndarray, ...]:
    """(s, t), distance from the disc's centre and depth of a sphere's front, at the pixels `at`."""
    x, y = pixel_grid(size)
    s, t = screen_to_head(head, shot, x[at], y[at])
    square = s * s + t * t
    return s, t, np.sqrt(square), np.sqrt(np.maximum(_F(radius * radius) - square, 0))


def _lights(person: Identity, shot: Shot, warp: Warp, size: int) -> tuple[np.ndarray, np.ndarray]:
    """How bright face and hair are lit, each (H, W); light is smooth, so it is computed at half resolution."""
    head, half = person.head, (size + 1) // 2
    everywhere = slice(None), slice(None)
    s, t, _, depth = _sphere(head, shot, half, everywhere, 1.0)
    u, v = warp.backward(*disc_to_chart(head, shot, s, t, depth, 1.0))
    relief = _sample(person.relief, u, v, TEXELS_PER_PIXEL * size / 4.0)
    face = _shade(shot, s - relief[0], t - relief[1], depth, gloss=0.12)
    depth = np.sqrt(np.maximum(_F(head.hair_radius**2) - s * s - t * t, 0))
    return _enlarge(face, size), _enlarge(_shade(shot, s, t, depth, gloss=0.1), size)


def _enlarge(plane: np.ndarray, size: int) -> np.ndarray:
    return cv2.resize(plane, (size, size), interpolation=cv2.INTER_LINEAR)


def _sample(texture: np.ndarray, u: np.ndarray, v: np.ndarray, density: float) -> np.ndarray:
    """Texture (h, w, 4) at canonical points (H, W) -> (4, H, W) float32; 8-bit textures become [0, 1]."""
    column = (u + _F(CHART_HALF[0])) * _F(density) - _F(0.5)
    row = (v + _F(CHART_HALF[1])) * _F(density) - _F(0.5)
    texels = cv2.remap(texture, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    planes = np.asarray(cv2.split(texels), _F)
    if texture.dtype == np.uint8:
        planes *= _F(1 / 255)
    return planes


def _shade(shot: Shot, nx: np.ndarray, ny: np.ndarray, nz: np.ndarray, gloss: float) -> np.ndarray:
    """Wrapped diffuse light and a broad highlight (H, W), for unnormalised normals in the camera's axes."""
    norm = 1 / np.sqrt(nx * nx + ny * ny + nz * nz + _F(1e-6))
    x, y, z = shot.light
    wrap = (nx * _F(x) + ny * _F(y) + nz * _F(z)) * norm
    shine = (wrap + nz * norm) * _F(1 / (2 + 2 * z) ** 0.5)  # it looks half-way between light and camera
    for _ in range(4):
        shine *= shine
    wrap += 1
    wrap *= wrap
    return _F(1 - 0.66 * shot.contrast) + _F(0.205 * shot.contrast) * wrap + _F(gloss * shot.gloss) * shine


def _paste(image: np.ndarray, alpha: np.ndarray, colour: np.ndarray) -> None:
    """Lays a colour (3,) or picture (3, H, W) over an image (3, H, W) with an opacity (H, W), in place."""
    colour = np.asarray(colour, _F)
    image += alpha * ((colour if colour.ndim == 3 else colour[:, None, None]) - image)


def _surroundings(person: Identity, shot: Shot, size: int, rng: np.random.Generator) -> np.ndarray:
    """What lies behind the face (3, H, W), out of focus: background, hair, neck, clothes, ears; at half resolution."""
    half, head = (size + 1) // 2, person.head
    s, t = screen_to_head(head, shot, *pixel_grid(half))
    edge = _F(head.half_width * shot.scale * half / 2.0)
    grey, colour = rng.uniform(0.25, 0.75), rng.normal(0, 0.07, 3)
    coarse = grey + colour[:, None, None] + rng.normal(0, 0.1, (1, 5, 5)) + rng.normal(0, 0.025, (3, 5, 5))
    image = np.clip(smooth_noise(coarse.astype(_F), half, half), 0.03, 0.97)

    yaw, pitch = np.sin([shot.yaw, shot.pitch]).tolist()
    if person.mane_end is not None:
        width, end, across = _F(head.hair_radius), _F(person.mane_end), s - _F(0.1 * yaw)
        above = np.minimum(t, 0)
        outline = np.minimum(width - np.sqrt(across * across + above * above), end - t)
        _paste(image, np.clip(outline * edge + _F(0.5), 0, 1), person.hair * 0.55)

    rows, _ = box(head, shot, half, 1.0, 0.5, 2.0)
    lower, across, t_low = image[:, rows], np.abs(s[rows] - _F(0.1 * yaw)), t[rows]
    square, below = across * across, np.clip(t_low - _F(0.9), 0, 1)
    neck = np.clip((_F(0.56) + 2 * below * below - across) * edge + _F(0.5), 0, 1) * (t_low > 0.3)
    tone = np.clip(_F(0.42) + _F(0.8) * below - _F(0.3) * square, 0.3, 0.85)
    _paste(lower, neck, person.skin[:, None, None] * tone)
    collar = t_low - _F(1.2) - _F(0.15) * square + _F(0.12) * np.maximum(_F(0.5) - across, 0)
    cloth = (rng.uniform(0.1, 0.8) + rng.normal(0, 0.1, 3)).astype(_F)
    _paste(lower, np.clip(collar * edge + _F(0.5), 0, 1), cloth[:, None, None] * (1 - _F(0.25) * across))

    for side in (-1, 1):
        centre = side * (0.99 * np.cos(shot.yaw).item() + 0.02) - 0.12 * yaw, 0.05 - 0.25 * pitch
        wide, high = 0.13 * max(1 + 0.6 * side * yaw, 0.4), 0.24
        rows, columns = _around(head, shot, half, *centre, wide, high)
        du, dv = (s[rows, columns] - _F(centre[0])) * _F(1 / wide), (t[rows, columns] - _F(centre[1])) * _F(1 / high)
        distance = np.sqrt(du * du + dv * dv)
        ear = np.clip((1 - distance) * edge * _F(0.13) + _F(0.5), 0, 1)
        tone = np.clip(_F(0.45) + _F(0.5) * distance, 0.5, 0.9)
        _paste(image[:, rows, columns], ear, (person.skin * _F([1.05, 0.92, 0.9]))[:, None, None] * tone)
    return np.stack([_enlarge(plane, size) for plane in image])


def _around(head: Head, shot: Shot, size: int, s: float, t: float, half_s: float, half_t: float):
    """Rows and columns of the pixels around a point of the head's plane."""
    x, y = ((axis.item() + 1) * size / 2 for axis in head_to_screen(head, shot, np.float32(s), np.float32(t)))
    reach = 1.2 * shot.scale * max(half_s * head.half_width, half_t * head.half_height) * size / 2 + 2
    return tuple(slice(max(0, int(c - reach)), max(0, int(c + reach) + 1)) for c in (y, x))


def _expression(skin: np.ndarray, person: Identity, shot: Shot, u, v, soft: np.float32) -> np.ndarray:
    """Lids and the inside of the mouth over the static texture (3, H, W); returns where the mouth's inside shows."""
    head = person.head
    if shot.eyes < 0.99:
        half_u, half_v = head.eye_half
        du, dv = (np.abs(u) - _F(head.eye[0])) * _F(1 / half_u), v - _F(head.eye[1])
        across = np.maximum(1 - du * du * _F(0.86), 0)
        line = across * _F(half_v * (0.75 - 1.75 * shot.eyes))
        lid = np.clip((line - dv) * soft + _F(0.5), 0, 1) * np.clip((dv + _F(1.25 * half_v) * across) * soft, 0, 1)
        _paste(skin, lid * (across > 0), person.skin * _F(0.88))
        off = (dv - line) * _F(1 / 0.016)
        skin *= 1 - _F(0.8) * np.exp(-off * off) * np.minimum(across * 3, 1)
    if shot.mouth < 0.02:
        return np.zeros(u.shape, bool)
    half, centre, lip = head.mouth
    reach = u * _F(1 / (0.92 * half))
    across = np.maximum(1 - reach * reach, 0)
    gap = _F(0.62 * lip * min(1.0, 0.35 + shot.mouth)) * np.sqrt(across)
    down = v - _F(centre)
    inside = np.clip((gap - np.abs(down)) * soft * _F(1.3) + _F(0.5), 0, 1) * (across > 0)
    teeth = np.clip((-down - gap * _F(0.15)) * soft * _F(1.5) + _F(0.5), 0, 1) * np.clip(across * 2 - _F(0.4), 0, 1)
    dark, white = np.asarray([[0.24, 0.07, 0.07], [0.86, 0.83, 0.79]], _F)[..., None, None]
    _paste(skin, inside, dark + teeth * (white - dark))
    return inside > 0.02


def _glasses(
    image: np.ndarray, head: Head, u, v, on_face: np.ndarray, soft: np.float32, rng: np.random.Generator
) -> np.ndarray:
    """Glasses on the undisplaced face, over the image (3, H, W); returns what they cover (H, W) bool."""
    wide, high = rng.uniform(0.19, 0.22), rng.uniform(0.13, 0.17)
    side = np.abs(u)
    du, dv = (side - _F(head.eye[0])) * _F(1 / wide), (v - _F(head.eye[1] + 0.02)) * _F(1 / high)
    du *= du
    dv *= dv
    ring = np.sqrt(du + dv) if rng.random() < 0.5 else np.sqrt(np.sqrt(du * du + dv * dv))
    rim = np.clip((_F(0.016) - np.abs(ring - 1) * _F(min(wide, high))) * soft + _F(0.5), 0, 1)
    bar = np.clip((_F(0.014) - np.abs(v - _F(head.eye[1] - 0.03))) * soft + _F(0.5), 0, 1)
    between = (side < head.eye[0] - wide) | (side > head.eye[0] + wide)
    frame = np.maximum(rim, bar * between) * on_face
    lens = (ring < 1) & (on_face > 0.5)
    image -= lens * (_F(0.14) * image - _F(rng.uniform(0.02, 0.1)))
    _paste(image, frame, np.full(3, rng.uniform(0.02, 0.3)))
    return lens | (frame > 0.02)


def _occluder(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A hand-like or cloth-like soft shape that reaches in from the border; returns what it covers (H, W) bool."""
    size = image.shape[1]
    mask = np.zeros((size, size), np.uint8)
    angle = rng.uniform(0, 2 * np.pi)
    out = np.asarray([np.cos(angle), np.sin(angle)])
    tip, root = size * (0.5 + rng.uniform(0.1, 0.3) * out), size * (0.5 + 0.9 * out)
    ends = [tuple(np.int32(8 * point).tolist()) for point in (tip, root)]
    cv2.line(mask, *ends, 255, max(2, int(size * rng.uniform(0.06, 0.2))), cv2.LINE_AA, 3)
    alpha = cv2.GaussianBlur(mask.astype(_F) * _F(1 / 255), (0, 0), max(size / 160.0, 0.3))
    colour = np.clip(rng.uniform(0.2, 0.75) + rng.normal(0, 0.1, 3), 0.05, 0.9).astype(_F)
    x, y = pixel_grid(size)
    shade = 0.9 + _F(0.4) * (x * _F(-out[1]) + y * _F(out[0]))
    _paste(image, alpha, colour[:, None, None] * shade)
    return alpha > 0.02
