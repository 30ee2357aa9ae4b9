"""A photo: camera, expression, light, background and occluders around a person of :mod:`.synthetic_identity`."""

from __future__ import annotations

import cv2
import numpy as np

from .synthetic_face import (
    CHART_HALF,
    FACE,
    HAIR,
    SCENE,
    Head,
    Photo,
    Shot,
    Warp,
    disc_to_chart,
    pixel_grid,
    screen_to_head,
)
from .synthetic_identity import TEXELS_PER_PIXEL, Identity

_F = np.float32


def draw_shot(rng: np.random.Generator) -> Shot:
    """A random photo: pose and alignment jitter of FFHQ-like crops, expression, light, glasses, occluder."""
    yaw, pitch = rng.uniform(-0.44, 0.44), rng.uniform(-0.2, 0.2)
    mouth, smile, brow = rng.random(3)
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
        brows=(0.0, 0.0) if brow < 0.6 else (float(np.clip(0.6 + side, 0, 1)), float(np.clip(0.6 - side, 0, 1))),
        light=tuple(light / np.linalg.norm(light)),
        tint=(gain * (1 + warmth), gain, gain * (1 - warmth)),
        contrast=rng.uniform(0.6, 1.0),
        glasses=rng.random() < 0.14,
        occluder=rng.random() < 0.14,
        scene_seed=int(rng.integers(2**31)),
    )


def take_photo(person: Identity, shot: Shot, size: int) -> Photo:
    """Render ``person`` as ``shot`` says at ``size`` x ``size`` pixels, with exact canonical coordinates."""
    head = person.head
    rng = np.random.default_rng(shot.scene_seed)
    warp = Warp(person.basis, shot)
    x, y = pixel_grid(size)
    s, t = screen_to_head(head, shot, x, y)
    pixel = head.half_width * shot.scale * size / 2.0
    density = _F(TEXELS_PER_PIXEL * size / 2.0)
    image = _background(size, rng)
    square = s * s + t * t
    reach = np.sqrt(square)
    _body(image, person, shot, s, t, pixel, rng)

    depth = np.sqrt(np.maximum(1.0 - square, 0))
    p = disc_to_chart(head, shot, s, t, depth, 1.0)
    u, v = warp.backward(*p)
    cover = np.clip((1.0 - reach) * _F(pixel) + _F(0.5), 0, 1)
    albedo = _sample(person.albedo, u, v, density)
    slope = _sample(person.relief, u, v, density / 2)
    dynamic = _expression(albedo, person, shot, u, v)
    lit = albedo * _shade(shot, s - slope[..., 0], t - slope[..., 1], depth, gloss=0.12)
    cover3 = cover[..., None]
    image += cover3 * (lit - image)
    albedo *= cover3

    radius = _F(head.hair_radius)
    depth = np.sqrt(np.maximum(radius * radius - square, 0))
    hair_u, hair_v = disc_to_chart(head, shot, s, t, depth, radius)
    mane = _sample(person.mane, hair_u, hair_v, density)
    alpha = mane[..., 3] * np.clip((radius - reach) * _F(pixel) + _F(0.5), 0, 1)
    alpha3, colour = alpha[..., None], mane[..., :3]
    image += alpha3 * (colour * _shade(shot, s / radius, t / radius, depth / radius, gloss=0.1) - image)
    albedo += alpha3 * (colour - albedo)

    is_face = (alpha < 0.2) & (cover > 0.98) & ~dynamic
    is_hair = (alpha > 0.7) & (reach < radius - 1.5 / pixel)
    layer = np.where(is_hair, np.uint8(HAIR), np.where(is_face, np.uint8(FACE), np.uint8(SCENE)))
    if shot.glasses:
        layer[_glasses(image, head, *p, alpha, rng)] = SCENE
    image *= np.asarray(shot.tint, _F)
    if shot.occluder:
        layer[_occluder(image, rng)] = SCENE
    np.clip(image, 0, 1, out=image)
    canon = np.stack([np.where(is_hair, hair_u, u), np.where(is_hair, hair_v, v)], axis=-1)
    albedo[layer == SCENE] = 0
    return Photo(image, albedo, canon, layer, shot, warp, head)


def _sample(texture: np.ndarray, u: np.ndarray, v: np.ndarray, density: float) -> np.ndarray:
    column = (u + _F(CHART_HALF[0])) * _F(density) - _F(0.5)
    row = (v + _F(CHART_HALF[1])) * _F(density) - _F(0.5)
    return cv2.remap(texture, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _shade(shot: Shot, nx: np.ndarray, ny: np.ndarray, nz: np.ndarray, gloss: float) -> np.ndarray:
    """Wrapped diffuse light and a broad highlight (H, W, 1) for unnormalised normals in the camera's axes."""
    norm = 1.0 / np.sqrt(nx * nx + ny * ny + nz * nz + _F(1e-6))
    light = shot.light
    facing = (nx * _F(light[0]) + ny * _F(light[1]) + nz * _F(light[2])) * norm
    wrap = 0.5 + 0.5 * facing
    half = np.asarray([light[0], light[1], light[2] + 1.0])
    half /= np.linalg.norm(half)
    shine = np.clip((nx * _F(half[0]) + ny * _F(half[1]) + nz * _F(half[2])) * norm, 0, 1)
    shine *= shine
    shine *= shine
    shine *= shine
    shine *= shine
    out = _F(1.03 - shot.contrast * 0.7) + _F(0.82 * shot.contrast) * wrap * wrap + _F(gloss) * shine
    return out[..., None]


def _background(size: int, rng: np.random.Generator) -> np.ndarray:
    base = rng.uniform(0.2, 0.8, 3)
    coarse = base + rng.normal(0, 0.09, (5, 5, 1)) + rng.normal(0, 0.03, (5, 5, 3))
    return cv2.resize(np.clip(coarse, 0.05, 0.95).astype(_F), (size, size), interpolation=cv2.INTER_CUBIC)


def _paste(image: np.ndarray, alpha: np.ndarray, colour: np.ndarray) -> None:
    image += alpha[..., None] * (np.asarray(colour, _F) - image)


def _body(image: np.ndarray, person: Identity, shot: Shot, s, t, pixel: float, rng: np.random.Generator) -> None:
    """Hair behind the head, neck, clothes and ears, all behind the face."""
    edge = _F(pixel)
    across = np.abs(s - _F(0.1 * np.sin(shot.yaw)))
    if person.long_hair:
        outline = _F(1.12) - 0.25 * np.clip(0.3 - t, 0, 2) ** 2
        _paste(image, np.clip((outline - across) * edge + 0.5, 0, 1) * (t > -0.6), person.hair * 0.55)
    neck = np.clip((0.55 + 0.25 * np.clip(t - 0.95, 0, 1) ** 2 * 8 - across) * edge + 0.5, 0, 1) * (t > 0.3)
    shadow = np.clip(0.35 + 0.9 * np.clip(t - 0.85, 0, 1) - 0.25 * across, 0.3, 0.8)[..., None]
    image += neck[..., None] * (person.skin * shadow - image)
    collar = np.clip((t - 1.22 - 0.12 * across * across + 0.1 * np.clip(0.5 - across, 0, 1)) * edge + 0.5, 0, 1)
    image += collar[..., None] * (rng.uniform(0.1, 0.85, 3).astype(_F) * _F(0.85) - image)
    yaw = np.sin(shot.yaw)
    for side in (-1, 1):
        centre = side * (0.99 * np.cos(shot.yaw) + 0.02) - 0.12 * yaw
        show = 1.0 + 0.6 * side * yaw
        du, dv = (s - _F(centre)) * _F(1.0 / (0.13 * max(show, 0.4))), (t - _F(0.05 - 0.25 * shot.pitch)) * _F(1 / 0.24)
        distance = np.sqrt(du * du + dv * dv)
        ear = np.clip((1.0 - distance) * edge * _F(0.13) + 0.5, 0, 1)
        tone = np.clip(0.5 + 0.45 * distance, 0.5, 0.85)[..., None] * np.asarray([1.05, 0.92, 0.9], _F)
        image += ear[..., None] * (person.skin * tone - image)


def _expression(albedo: np.ndarray, person: Identity, shot: Shot, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Lids and the inside of the mouth over the static texture; returns where content is not static (bool)."""
    head = person.head
    dynamic = np.zeros(u.shape, bool)
    soft = _F(albedo.shape[0] / 2.0)
    if shot.eyes < 0.99:
        half_u, half_v = head.eye_half
        du, dv = (np.abs(u) - _F(head.eye[0])) * _F(1.0 / half_u), v - _F(head.eye[1])
        across = np.clip(1.0 - du * du * _F(0.86), 0, None)
        line = _F(half_v) * across * _F(0.75 - 1.75 * shot.eyes)
        above = np.clip((line - dv) * soft + 0.5, 0, 1) * np.clip((dv + 1.25 * half_v * across) * soft, 0, 1)
        below = np.clip((0.85 * half_v * across - dv) * soft + 0.5, 0, 1)
        lid = above * below * (across > 0)
        _paste(albedo, lid, person.skin * _F(0.88))
        lash = np.exp(-(((dv - line) * _F(1 / 0.016)) ** 2)) * np.clip(across * 3, 0, 1) * 0.8
        albedo *= (1.0 - lash)[..., None]
    if shot.mouth > 0.02:
        half, centre, lip = head.mouth
        across = np.clip(1.0 - (u * _F(1.0 / (0.92 * half))) ** 2, 0, None)
        gap = _F(0.62 * lip * min(1.0, 0.35 + shot.mouth)) * np.sqrt(across)
        down = v - _F(centre)
        inside = np.clip((gap - np.abs(down)) * soft * 1.3 + 0.5, 0, 1) * (across > 0)
        teeth = np.clip((-down - gap * _F(0.15)) * soft * 1.5 + 0.5, 0, 1) * np.clip(across * 2 - 0.4, 0, 1)
        colour = np.asarray([0.24, 0.07, 0.07], _F) + teeth[..., None] * np.asarray([0.62, 0.76, 0.72], _F)
        albedo += inside[..., None] * (colour - albedo)
        dynamic |= inside > 0.02
    return dynamic


def _glasses(image: np.ndarray, head: Head, u, v, hidden: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Glasses on the undisplaced face; returns what they cover (bool)."""
    wide, high = rng.uniform(0.19, 0.22), rng.uniform(0.13, 0.17)
    power = rng.choice([2, 4])
    du, dv = (np.abs(u) - _F(head.eye[0])) * _F(1 / wide), (v - _F(head.eye[1] + 0.02)) * _F(1 / high)
    ring = (du**power + dv**power) ** _F(1.0 / power)
    front = np.abs(u) < 1.0
    soft = _F(image.shape[0] * 0.5)
    frame = np.clip((0.016 - np.abs(ring - 1) * _F(min(wide, high))) * soft + 0.5, 0, 1) * front
    bar = np.clip((0.014 - np.abs(v - _F(head.eye[1] - 0.03))) * soft + 0.5, 0, 1)
    inner, outer = _F(head.eye[0] - wide), _F(head.eye[0] + wide)
    frame = np.maximum(frame, bar * ((np.abs(u) < inner) | ((np.abs(u) > outer) & (np.abs(u) < 1.15))) * (1 - hidden))
    lens = (ring < 1) & front
    image[lens] = image[lens] * _F(0.86) + _F(rng.uniform(0.02, 0.1))
    _paste(image, frame, rng.uniform(0.02, 0.3) * np.ones(3))
    return lens | (frame > 0.02)


def _occluder(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A finger-like or cloth-like soft shape reaching in from the border; returns what it covers (bool)."""
    size = image.shape[0]
    mask = np.zeros((size, size), np.uint8)
    angle = rng.uniform(0, 2 * np.pi)
    out = np.asarray([np.cos(angle), np.sin(angle)])
    tip, root = size * (0.5 + rng.uniform(0.1, 0.3) * out), size * (0.5 + 0.9 * out)
    width = int(size * rng.uniform(0.06, 0.2))
    ends = [tuple(int(8 * c) for c in point) for point in (tip, root)]
    cv2.line(mask, ends[0], ends[1], 255, max(2, width), cv2.LINE_AA, 3)
    alpha = cv2.GaussianBlur(mask.astype(_F) * _F(1 / 255), (0, 0), size / 128.0 * 0.8)
    colour = rng.uniform(0.15, 0.85, 3)
    x, y = pixel_grid(size)
    side = x * _F(-out[1]) + y * _F(out[0])
    shade = (0.9 + 0.3 * side)[..., None]
    image += alpha[..., None] * (np.asarray(colour, _F) * shade - image)
    return alpha > 0.02
