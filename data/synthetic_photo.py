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
    pixel_grid,
    screen_to_head,
)
from .synthetic_identity import TEXELS_PER_PIXEL, Identity
from .synthetic_paint import smooth_noise

_F = np.float32
_WARM = _F([1.05, 0.92, 0.88])  # ears and a shaded neck are a little redder than the face


# How far the face moves on the screen as the head turns: photos are aligned by eyes and mouth, which takes it back.
ALIGN = (0.73, 0.63)


def draw_shot(rng: np.random.Generator) -> Shot:
    """A random photo: pose and alignment jitter of FFHQ-like crops, expression, light, glasses, occluder."""
    yaw, pitch = rng.uniform(-0.4, 0.4), rng.uniform(-0.16, 0.16)
    mouth, smile, brow = rng.random(3).tolist()
    side = 0.4 * rng.uniform(-1, 1)
    light = rng.uniform(-0.75, 0.75), rng.uniform(-0.7, 0.15), 0.9
    far = math.hypot(*light)
    gain, warmth = rng.uniform(0.88, 1.1), rng.uniform(-0.06, 0.06)
    eyes = 1.0 if rng.random() < 0.72 else (0.0, 0.45)[rng.integers(2)]
    return Shot(
        yaw=yaw,
        pitch=pitch,
        roll=rng.normal(0, 0.03),
        scale=rng.uniform(1.12, 1.2),
        shift=(
            rng.uniform(-0.02, 0.02) - ALIGN[0] * math.sin(yaw),
            0.05 + rng.uniform(-0.02, 0.02) - ALIGN[1] * math.sin(pitch),
        ),
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
    pixel = head.half_width * shot.scale * size / 2.0  # pixels in a unit of s
    coarse = screen_to_head(head, shot, *pixel_grid((size + 1) // 2))
    image = _surroundings(person, shot, size, *coarse, rng)
    face_light, hair_light = _lights(person, shot, warp, size, *coarse)

    radius, low = _hair_reach(person, shot)
    rows, columns = box(
        head, shot, size, (0.0, 0.5 * (max(low, 1.0) - radius)), (radius, 0.5 * (max(low, 1.0) + radius))
    )
    x, y = pixel_grid(size)
    s, t = screen_to_head(head, shot, x[:, columns], y[rows])
    square = s * s + t * t
    reach = np.sqrt(square)

    p = disc_to_chart(head, shot, s, t, np.sqrt(np.maximum(1 - square, 0)), 1.0)
    u, v = warp.backward(*p)
    skin = _sample(person.albedo, u, v, density, 3)
    inside = _expression(skin, person, shot, u, v, soft=size / 2.0)
    cover = np.clip((1 - reach) * pixel + 0.5, 0, 1)
    skin *= face_light[rows, columns]
    front = image[:, rows, columns]
    _mix(front, cover, skin)
    layer = ((cover > 0.98) & ~inside).astype(_F)

    if low > -radius:
        end = box(head, shot, size, (0.0, 0.5 * (low - radius)), (radius, 0.5 * (low + radius)))[0].stop - rows.start
        s, t, square, reach = s[:end], t[:end], square[:end], reach[:end]
        hair_u, hair_v = disc_to_chart(head, shot, s, t, np.sqrt(np.maximum(radius * radius - square, 0)), radius)
        mane = _sample(person.mane, hair_u, hair_v, density, 4)
        alpha = mane[3]
        alpha *= np.clip((radius - reach) * pixel + 0.5, 0, 1)
        mane = mane[:3]
        mane *= hair_light[rows, columns][:end]
        _mix(front[:, :end], alpha, mane)
        is_hair = (alpha > 0.7) & (reach < radius - 1.5 / pixel)
        np.copyto(u[:end], hair_u, where=is_hair)
        np.copyto(v[:end], hair_v, where=is_hair)
        layer[:end] *= alpha < 0.2
        layer[:end] -= is_hair
    if shot.glasses:
        layer *= ~_glasses(front, head, *p, cover * (layer > 0), soft=size / 2.0, rng=rng)
    image *= np.asarray(shot.tint, _F)[:, None, None]
    maps = np.zeros((3, size, size), _F)
    for plane, values in zip(maps, (u, v, layer), strict=True):
        plane[rows, columns] = values
    if shot.occluder:
        maps[2] *= ~_occluder(image, rng)
    np.minimum(image, 1, out=image)
    np.maximum(image, 0, out=image)
    return Photo(image, *maps, shot, head, warp)


def _hair_reach(person: Identity, shot: Shot) -> tuple[float, float]:
    """Radius of the hair's sphere, and the largest t at which hair can show before or beside the face."""
    radius = person.head.hair_radius
    if person.mane_low is None:
        return radius, -radius
    angle = 2 * math.atan(person.mane_low / (2 * person.head.half_height)) + abs(shot.pitch)
    return radius, radius * math.sin(min(angle, math.pi / 2))


def _lights(person: Identity, shot: Shot, warp: Warp, size: int, s: np.ndarray, t: np.ndarray) -> list[np.ndarray]:
    """How bright face and hair are lit, each (H, W). Light is smooth: s and t come at half resolution."""
    head = person.head
    square = s * s + t * t
    depth = np.sqrt(np.maximum(1 - square, 0))
    u, v = warp.backward(*disc_to_chart(head, shot, s, t, depth, 1.0))
    slope_u, slope_v = _sample(person.relief, u, v, TEXELS_PER_PIXEL * size / 4.0, 2)
    face = _shade(shot, s - slope_u, t - slope_v, depth, gloss=0.12)
    depth = np.sqrt(np.maximum(head.hair_radius**2 - square, 0))
    return [_enlarge(plane, size) for plane in (face, _shade(shot, s, t, depth, gloss=0.1))]


def _enlarge(plane: np.ndarray, size: int) -> np.ndarray:
    return cv2.resize(plane, (size, size), interpolation=cv2.INTER_LINEAR)


def _sample(texture: np.ndarray, u: np.ndarray, v: np.ndarray, density: float, channels: int) -> np.ndarray:
    """Texture (h, w, 4) at canonical points (H, W) -> (channels, H, W) float32; 8-bit textures become [0, 1]."""
    column = u * density + (CHART_HALF[0] * density - 0.5)
    row = v * density + (CHART_HALF[1] * density - 0.5)
    texels = cv2.remap(texture, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    planes = np.empty((channels, *u.shape), _F)
    for out, plane in zip(planes, cv2.split(texels), strict=False):
        np.multiply(plane, _F(1 / 255 if texture.dtype == np.uint8 else 1), out=out)
    return planes


def _shade(shot: Shot, nx: np.ndarray, ny: np.ndarray, nz: np.ndarray, gloss: float) -> np.ndarray:
    """Wrapped diffuse light and a broad highlight (H, W), for unnormalised normals in the camera's axes."""
    norm = 1 / np.sqrt(nx * nx + ny * ny + nz * nz + 1e-6)
    x, y, z = shot.light
    wrap = (nx * x + ny * y + nz * z) * norm
    shine = (wrap + nz * norm) * (1 / (2 + 2 * z) ** 0.5)  # it looks half-way between light and camera
    for _ in range(4):
        shine *= shine
    wrap += 1
    wrap *= wrap
    return wrap * (0.205 * shot.contrast) + shine * (gloss * shot.gloss) + (1 - 0.66 * shot.contrast)


def _mix(image: np.ndarray, alpha: np.ndarray, over: np.ndarray) -> None:
    """Lays a picture (3, H, W) over an image (3, H, W) with an opacity (H, W), in place; spends `over`."""
    over -= image
    over *= alpha
    image += over


def _paste(image: np.ndarray, alpha: np.ndarray, colour: np.ndarray, tone: np.ndarray | float = 1.0) -> None:
    """Lays a colour (3,), brightened by tone (H, W), over an image (3, H, W) with an opacity (H, W), in place."""
    for plane, value in zip(image, np.asarray(colour).tolist(), strict=True):
        plane += alpha * (value * tone - plane)


def _surroundings(
    person: Identity, shot: Shot, size: int, s: np.ndarray, t: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """What lies behind the face (3, H, W), out of focus: background, hair, neck, clothes, ears.

    s and t come at half resolution, at which all of it is painted.
    """
    half, head = s.shape[0], person.head
    edge = head.half_width * shot.scale * half / 2.0
    coarse = rng.standard_normal((4, 5, 5), dtype=_F)
    coarse = (
        0.025 * coarse[:3] + 0.1 * coarse[3] + (rng.uniform(0.25, 0.75) + rng.normal(0, 0.07, (3, 1, 1)).astype(_F))
    )
    image = np.clip(smooth_noise(coarse, half, half), 0.03, 0.97)

    yaw, pitch = math.sin(shot.yaw), math.sin(shot.pitch)
    if person.mane_end is not None:
        across, above = s - 0.1 * yaw, np.minimum(t, 0)
        outline = np.minimum(head.hair_radius - np.sqrt(across * across + above * above), person.mane_end - t)
        _paste(image, np.clip(outline * edge + 0.5, 0, 1), person.hair * 0.55)

    rows = slice(half // 2, None)
    lower, across, t_low = image[:, rows], np.abs(s[rows] - 0.1 * yaw), t[rows]
    square, below = across * across, np.clip(t_low - 0.9, 0, 1)
    neck = np.clip((2 * below * below - across + 0.56) * edge + 0.5, 0, 1) * (t_low > 0.3)
    _paste(lower, neck, person.skin * _WARM, np.clip(0.9 * below - 0.35 * square + 0.55, 0.4, 0.95))
    collar = t_low - 0.15 * square + 0.12 * np.maximum(0.5 - across, 0) - 1.2
    cloth = rng.uniform(0.1, 0.8) + rng.normal(0, 0.1, 3)
    _paste(lower, np.clip(collar * edge + 0.5, 0, 1), cloth, 1 - 0.25 * across)

    beside = s + 0.12 * yaw  # an ear on either side, wider on the side that is turned here
    away = np.abs(beside) - (0.99 * math.cos(shot.yaw) + 0.02)
    away *= 7.7 - 4.5 * yaw * np.sign(beside)
    down = t * (1 / 0.24) - (0.05 - 0.25 * pitch) / 0.24
    distance = np.sqrt(away * away + down * down)
    ears = np.clip((1 - distance) * (edge * 0.13) + 0.5, 0, 1)
    _paste(image, ears, person.skin * _WARM, np.clip(0.5 * distance + 0.45, 0.5, 0.9))

    sharp = np.empty((3, size, size), _F)
    for plane, out in zip(image, sharp, strict=True):
        cv2.resize(plane, (size, size), dst=out, interpolation=cv2.INTER_LINEAR)
    return sharp


def _expression(skin: np.ndarray, person: Identity, shot: Shot, u, v, soft: float) -> np.ndarray:
    """Lids and the inside of the mouth over the static texture (3, H, W); returns where the mouth's inside shows."""
    head = person.head
    if shot.eyes < 0.99:
        half_u, half_v = head.eye_half
        du, dv = (np.abs(u) - head.eye[0]) * (1 / half_u), v - head.eye[1]
        across = np.maximum(1 - du * du * 0.86, 0)
        line = across * (half_v * (0.75 - 1.75 * shot.eyes))
        lid = np.clip((line - dv) * soft + 0.5, 0, 1) * np.clip((dv + 1.25 * half_v * across) * soft, 0, 1)
        _paste(skin, lid * (across > 0), person.skin * 0.88)
        off = (dv - line) * (1 / 0.016)
        skin *= 1 - 0.8 * np.exp(-off * off) * np.minimum(across * 3, 1)
    if shot.mouth < 0.02:
        return np.zeros(u.shape, bool)
    half, centre, lip = head.mouth
    reach = u * (1 / (0.92 * half))
    across = np.maximum(1 - reach * reach, 0)
    gap = (0.62 * lip * min(1.0, 0.35 + shot.mouth)) * np.sqrt(across)
    down = v - centre
    inside = np.clip((gap - np.abs(down)) * soft * 1.3 + 0.5, 0, 1) * (across > 0)
    teeth = np.clip((-down - gap * 0.15) * soft * 1.5 + 0.5, 0, 1) * np.clip(across * 2 - 0.4, 0, 1)
    dark, white = np.asarray([[0.24, 0.07, 0.07], [0.86, 0.83, 0.79]], _F)[..., None, None]
    _mix(skin, inside, dark + teeth * (white - dark))
    return inside > 0.02


def _glasses(
    image: np.ndarray, head: Head, u, v, on_face: np.ndarray, soft: float, rng: np.random.Generator
) -> np.ndarray:
    """Glasses on the undisplaced face, over the image (3, H, W); returns what they cover (H, W) bool."""
    wide, high = rng.uniform(0.19, 0.22), rng.uniform(0.13, 0.17)
    side = np.abs(u)
    du, dv = (side - head.eye[0]) * (1 / wide), (v - (head.eye[1] + 0.02)) * (1 / high)
    du *= du
    dv *= dv
    ring = np.sqrt(du + dv) if rng.random() < 0.5 else np.sqrt(np.sqrt(du * du + dv * dv))
    rim = np.clip((0.016 - np.abs(ring - 1) * min(wide, high)) * soft + 0.5, 0, 1)
    bar = np.clip((0.014 - np.abs(v - (head.eye[1] - 0.03))) * soft + 0.5, 0, 1)
    between = (side < head.eye[0] - wide) | (side > head.eye[0] + wide)
    frame = np.maximum(rim, bar * between) * on_face
    lens = (ring < 1) & (on_face > 0.5)
    image -= lens * (0.14 * image - rng.uniform(0.02, 0.1))
    _paste(image, frame, np.full(3, rng.uniform(0.02, 0.3)))
    return lens | (frame > 0.02)


def _occluder(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A hand-like or cloth-like soft shape that reaches in from the border; returns what it covers (H, W) bool."""
    size = image.shape[1]
    mask = np.zeros((size, size), np.uint8)
    angle, near = rng.uniform(0, 2 * math.pi), rng.uniform(0.1, 0.3)
    out = math.cos(angle), math.sin(angle)
    ends = [[int(8 * size * (0.5 + far * axis)) for axis in out] for far in (near, 0.9)]
    cv2.line(mask, *ends, 255, max(2, int(size * rng.uniform(0.06, 0.2))), cv2.LINE_AA, 3)
    alpha = cv2.GaussianBlur(mask.astype(_F) * _F(1 / 255), (0, 0), max(size / 160.0, 0.3))
    colour = np.clip(rng.uniform(0.2, 0.75) + rng.normal(0, 0.1, 3), 0.05, 0.9)
    x, y = pixel_grid(size)
    _paste(image, alpha, colour, 0.9 + 0.4 * (y * out[0] - x * out[1]))
    return alpha > 0.02
