"""A photo: camera, expression, light, background and occluders around a person of `synthetic_identity`."""

from __future__ import annotations

import cv2
import numpy as np

from .synthetic_face import (
    CHART_HALF,
    Head,
    Photo,
    Shot,
    Warp,
    disc_to_chart,
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
    light = np.asarray([rng.uniform(-0.75, 0.75), rng.uniform(-0.7, 0.15), 0.9])
    gain, warmth = rng.uniform(0.88, 1.1), rng.uniform(-0.06, 0.06)
    eyes = 1.0 if rng.random() < 0.72 else float(rng.choice([0.0, 0.45]))
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
        light=tuple((light / np.linalg.norm(light)).tolist()),
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
    s, t = screen_to_head(head, shot, *pixel_grid(size))
    pixel = _F(head.half_width * shot.scale * size / 2.0)  # pixels in a unit of s
    density = TEXELS_PER_PIXEL * size / 2.0
    image = _surroundings(person, shot, size, rng)
    square = s * s + t * t
    reach = np.sqrt(square)

    depth = np.sqrt(np.maximum(1 - square, 0))
    p = disc_to_chart(head, shot, s, t, depth, 1.0)
    u, v = warp.backward(*p)
    skin = _sample(person.albedo, u, v, density)[:3]
    relief = _sample(person.relief, u, v, density / 2)
    inside = _expression(skin, person, shot, u, v)
    skin *= _shade(shot, s - relief[0], t - relief[1], depth, gloss=0.12)
    cover = np.clip((1 - reach) * pixel + _F(0.5), 0, 1)
    image += cover * (skin - image)

    radius = _F(head.hair_radius)
    depth = np.sqrt(np.maximum(radius * radius - square, 0))
    hair_u, hair_v = disc_to_chart(head, shot, s, t, depth, radius)
    mane = _sample(person.mane, hair_u, hair_v, density)
    alpha = mane[3] * np.clip((radius - reach) * pixel + _F(0.5), 0, 1)
    mane = mane[:3]
    mane *= _shade(shot, s, t, depth, gloss=0.1)
    image += alpha * (mane - image)

    is_hair = ((alpha > 0.7) & (reach < radius - 1.5 / pixel)).astype(_F)
    is_face = ((alpha < 0.2) & (cover > 0.98) & ~inside).astype(_F)
    if shot.glasses:
        clear = ~_glasses(image, head, *p, cover * (1 - alpha), rng)
        is_hair *= clear
        is_face *= clear
    image *= np.asarray(shot.tint, _F)[:, None, None]
    if shot.occluder:
        clear = ~_occluder(image, rng)
        is_hair *= clear
        is_face *= clear
    np.clip(image, 0, 1, out=image)
    u += is_hair * (hair_u - u)
    v += is_hair * (hair_v - v)
    return Photo(cv2.merge(list(image)), u, v, is_face - is_hair, shot, head, warp)


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
    wrap = (nx * _F(x) + ny * _F(y) + nz * _F(z)) * norm + 1
    half = 1 / (2 + 2 * z) ** 0.5  # the highlight looks half-way between light and camera
    shine = (nx * _F(x * half) + ny * _F(y * half) + nz * _F((z + 1) * half)) * norm
    for _ in range(4):
        shine *= shine
    wrap *= wrap
    return _F(1 - 0.66 * shot.contrast) + _F(0.205 * shot.contrast) * wrap + _F(gloss * shot.gloss) * shine


def _paste(image: np.ndarray, alpha: np.ndarray, colour: np.ndarray) -> None:
    """Lays a colour (3,) or picture (3, H, W) over an image (3, H, W) with an opacity (H, W), in place."""
    colour = np.asarray(colour, _F)
    image += alpha * ((colour if colour.ndim == 3 else colour[:, None, None]) - image)


def _surroundings(person: Identity, shot: Shot, size: int, rng: np.random.Generator) -> np.ndarray:
    """What lies behind the face (3, H, W), out of focus: background, hair, neck, clothes, ears; at half resolution."""
    half = max(size // 2, 8)
    s, t = screen_to_head(person.head, shot, *pixel_grid(half))
    edge = _F(person.head.half_width * shot.scale * half / 2.0)
    grey, colour = rng.uniform(0.25, 0.75), rng.normal(0, 0.07, 3)
    coarse = grey + colour[:, None, None] + rng.normal(0, 0.1, (1, 5, 5)) + rng.normal(0, 0.025, (3, 5, 5))
    image = np.clip(smooth_noise(coarse.astype(_F), half, half), 0.03, 0.97)

    yaw, pitch = np.sin([shot.yaw, shot.pitch]).tolist()
    across = np.abs(s - _F(0.1 * yaw))
    if person.mane_end is not None:
        width, end = _F(person.head.hair_radius), _F(person.mane_end)
        above = np.minimum(t, 0)
        outline = np.minimum(width - np.sqrt(across * across + above * above), end - t)
        _paste(image, np.clip(outline * edge + _F(0.5), 0, 1), person.hair * 0.55)
    below = np.clip(t - _F(0.9), 0, 1)
    neck = np.clip((0.56 + 2 * below * below - across) * edge + _F(0.5), 0, 1) * (t > 0.3)
    tone = np.clip(0.42 + 0.8 * below - 0.3 * across * across, 0.3, 0.85)
    _paste(image, neck, person.skin[:, None, None] * tone)
    collar = np.clip((t - 1.2 - 0.15 * across * across + 0.12 * np.clip(0.5 - across, 0, 1)) * edge + _F(0.5), 0, 1)
    cloth = rng.uniform(0.1, 0.8) + rng.normal(0, 0.1, 3).astype(_F)
    _paste(image, collar, cloth[:, None, None] * (1 - _F(0.25) * across))
    for side in (-1, 1):
        centre = side * (0.99 * np.cos(shot.yaw).item() + 0.02) - 0.12 * yaw
        show = max(1 + 0.6 * side * yaw, 0.4)
        du, dv = (s - _F(centre)) * _F(1 / (0.13 * show)), (t - _F(0.05 - 0.25 * pitch)) * _F(1 / 0.24)
        distance = np.sqrt(du * du + dv * dv)
        ear = np.clip((1 - distance) * edge * _F(0.13) + _F(0.5), 0, 1)
        tone = np.clip(0.45 + 0.5 * distance, 0.5, 0.9)
        _paste(image, ear, (person.skin * _F([1.05, 0.92, 0.9]))[:, None, None] * tone)
    return np.stack([cv2.resize(plane, (size, size), interpolation=cv2.INTER_LINEAR) for plane in image])


def _expression(skin: np.ndarray, person: Identity, shot: Shot, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Lids and the inside of the mouth over the static texture (3, H, W); returns where the mouth's inside shows."""
    head = person.head
    soft = _F(u.shape[0] / 2.0)
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


def _glasses(image: np.ndarray, head: Head, u, v, on_face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Glasses on the undisplaced face, over the image (3, H, W); returns what they cover (H, W) bool."""
    wide, high = rng.uniform(0.19, 0.22), rng.uniform(0.13, 0.17)
    side = np.abs(u)
    du, dv = (side - _F(head.eye[0])) * _F(1 / wide), (v - _F(head.eye[1] + 0.02)) * _F(1 / high)
    du *= du
    dv *= dv
    ring = np.sqrt(du + dv) if rng.random() < 0.5 else np.sqrt(np.sqrt(du * du + dv * dv))
    soft = _F(image.shape[1] / 2.0)
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
