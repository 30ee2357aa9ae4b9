"""Choose references: measure faces, match people to faces, rank a person's photos for one face."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from refstar.data.face_region import face_oval
from refstar.utils.errors import RefStarError

from .faces import (
    DegradedFace,
    FaceAttributes,
    IdentityVerdict,
    Person,
    PreparedFace,
    ReferenceChoice,
    RestoreSettings,
)

SIDE = 256  # pixels: larger faces are measured at this size
LIGHT_SIDE = 8  # side of the light map
SHARP = 0.6  # sharpness that most sharp photos reach, see `measure_sharpness`
# Chosen on people of lfw_val, by how much closer to the truth each term brings the result.
WEIGHTS = {'identity': 3.0, 'pose': 0.5, 'expression': 0.5, 'light': 0.5, 'sharpness': 0.5}


def measure_attributes(crop: np.ndarray, points: np.ndarray | None) -> FaceAttributes:
    """Measure an aligned face, uint8 (S, S, 3), RGB, with its five points in pixels of the crop, if known."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    if len(grey) > SIDE:
        grey = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    grey = grey.astype(np.float32)
    yaw = pitch = smile = None
    if points is not None:
        eyes, mouth = points[:2].mean(0), points[3:].mean(0)
        apart = max(float(np.linalg.norm(points[1] - points[0])), 1e-6)
        across, down = (points[1] - points[0]) / apart, mouth - eyes
        nose = points[2] - eyes
        yaw = float(nose @ across / apart)
        pitch = float(nose @ down / max(down @ down, 1e-6))
        smile = float(np.linalg.norm(points[4] - points[3]) / apart)
    return FaceAttributes(yaw, pitch, smile, measure_light(grey), measure_sharpness(grey))


def measure_light(grey: np.ndarray) -> np.ndarray:
    """Return the brightness of the face without mean and contrast, (LIGHT_SIDE, LIGHT_SIDE)."""
    oval = face_oval(len(grey))
    side = (LIGHT_SIDE, LIGHT_SIDE)
    cells = cv2.resize(grey * oval, side, interpolation=cv2.INTER_AREA)
    share = cv2.resize(oval, side, interpolation=cv2.INTER_AREA)
    inside = share > 0.5
    light = np.where(inside, cells / np.maximum(share, 1e-6), 0)
    light = np.where(inside, light - light[inside].mean(), 0)
    return (light / max(float(np.linalg.norm(light)), 1e-6)).astype(np.float32)


def measure_sharpness(grey: np.ndarray) -> float:
    """Return the contrast of the finest details over that of details four times as large; noise adds to it."""
    inside = face_oval(len(grey)) > 0
    blurred = [grey, *(cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (1.0, 2.0, 4.0))]
    fine, _, coarse = (float((a - b)[inside].std()) for a, b in pairwise(blurred))
    return fine / max(coarse, 1e-3)


def usefulness(lq: FaceAttributes, ref: FaceAttributes) -> dict[str, float]:
    """Return how well a reference fits a degraded photo: terms from 0 to 1, without those that are not known."""
    terms = {'light': float((1 + (lq.light * ref.light).sum()) / 2), 'sharpness': min(1.0, ref.sharpness / SHARP)}
    if lq.yaw is not None and ref.yaw is not None:
        turned = ((lq.yaw - ref.yaw) / 0.15) ** 2 + ((lq.pitch - ref.pitch) / 0.12) ** 2
        terms['pose'] = float(np.exp(-turned / 2))
        terms['expression'] = float(np.exp(-(((lq.smile - ref.smile) / 0.15) ** 2) / 2))
    return terms


def rank(attributes: FaceAttributes, embedding: np.ndarray | None, person: Person) -> list[ReferenceChoice]:
    """Rank a person's references for a degraded face with these attributes and this embedding, the best first."""
    choices = []
    for ref in person.references:
        terms, similarity = usefulness(attributes, ref.attributes), None
        if embedding is not None and ref.embedding is not None:
            similarity = float(embedding @ ref.embedding)
            terms = {'identity': max(0.0, similarity), **terms}
        score = sum(WEIGHTS[key] * value for key, value in terms.items()) / sum(WEIGHTS[key] for key in terms)
        choices.append(ReferenceChoice(ref, score, terms, similarity))
    return sorted(choices, key=lambda choice: -choice.score)


def mean_embedding(person: Person) -> np.ndarray:
    """Return the mean direction of a person's embeddings, (d,), of length 1."""
    mean = np.sum([ref.embedding for ref in person.references], axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-9)


def similarity_to(embedding: np.ndarray | None, person: Person) -> float | None:
    """Return the cosine of a degraded face to the mean of a person's photos; None without an identity network."""
    if embedding is None or any(ref.embedding is None for ref in person.references):
        return None
    return float(embedding @ mean_embedding(person))


def match_people(
    embeddings: Sequence[np.ndarray | None],
    people: Sequence[Person],
    threshold: float | None,
    alone: bool | None = None,
) -> list[tuple[Person | None, float | None]]:
    """Match the faces of one photo with people, one to one.

    A face that is alone on its photo gets the most similar person, however low the similarity: the caller decides what
    happens then. Of several faces, those that are similar to nobody get nobody. Without an identity network the first
    face gets the first person, and so on.

    Args:
        embeddings: of the degraded faces; people: whose references there are.
        threshold: least similarity of the same person; None without an identity network.
        alone: whether the photo shows one face only; None: whether one is given.

    Returns:
        (person, similarity) of every face.
    """
    result: list[tuple[Person | None, float | None]] = [(None, None)] * len(embeddings)
    alone = len(embeddings) == 1 if alone is None else alone
    if not people or not embeddings:
        return result
    if threshold is None:
        for face, person in enumerate(people[: len(embeddings)]):
            result[face] = person, None
        return result
    table = np.array([[similarity_to(embedding, person) or 0.0 for person in people] for embedding in embeddings])
    for face, number in zip(*linear_sum_assignment(-table), strict=True):
        if alone or table[face, number] >= threshold:
            result[face] = people[number], float(table[face, number])
    return result


def choose_references(
    face: DegradedFace,
    person: Person,
    similarity: float | None,
    threshold: float | None,
    settings: RestoreSettings,
    unchecked: str,
) -> PreparedFace:
    """Choose references of one person by the identity policy, then by usefulness.

    `similarity` of face and person is None where they were not compared; then `unchecked` is a note for the user.

    Raises:
        RefStarError: the references are likely of another person and the settings refuse that.
    """
    dropped, notes = dict(person.dropped), []
    ranked = rank(face.attributes, face.embedding, person)
    if similarity is None:
        identity = IdentityVerdict(person.name)
        notes.append(unchecked)
    else:
        identity = IdentityVerdict(person.name, similarity, threshold, similarity >= threshold)
    if identity.same is False:
        text = f'the references of {person.name} are likely of another person'
        text += f' (similarity {similarity:.2f}, the same person has {threshold:.2f} or more)'
        if settings.on_wrong_identity == 'refuse':
            raise RefStarError(f'{text}; refused')
        if settings.on_wrong_identity == 'drop':
            dropped |= {choice.reference.name: 'likely another person' for choice in ranked}
            return PreparedFace(face, [], replace(identity, person=None), dropped, [f'{text}; not used'])
        notes.append(f'{text}; used all the same')
    for choice in ranked[settings.num_refs :]:
        dropped[choice.reference.name] = f'less useful than {settings.num_refs} others'
    return PreparedFace(face, ranked[: settings.num_refs], identity, dropped, notes)
