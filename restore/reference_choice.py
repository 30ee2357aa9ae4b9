"""Which person a face shows, and which of the person's photos help it most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from .face_attributes import Traits, usefulness
from .references import Person, Reference, centre

# Chosen on people of lfw_val, by how much closer to the truth each term brings the result.
WEIGHTS = {'identity': 3.0, 'pose': 0.5, 'expression': 0.5, 'light': 0.5, 'sharpness': 0.5}


@dataclass(frozen=True)
class Choice:
    """A reference and how well it fits a degraded face.

    Args:
        reference: the reference.
        score: weighted mean of the terms, 0 to 1.
        terms: identity, pose, expression, light, sharpness, each 0 to 1; what is not known is not among them.
        similarity: cosine of the embeddings, None without a guard.
    """

    reference: Reference
    score: float
    terms: dict[str, float]
    similarity: float | None


def rank(traits: Traits, embedding: np.ndarray | None, person: Person) -> list[Choice]:
    """A person's references, the most useful for this degraded face first.

    Args:
        traits, embedding: of the degraded face; no embedding without a guard.
        person: whose photos.
    """
    choices = []
    for ref in person.references:
        terms, similarity = usefulness(traits, ref.traits), None
        if embedding is not None and ref.embedding is not None:
            similarity = float(embedding @ ref.embedding)
            terms = {'identity': max(0.0, similarity), **terms}
        score = sum(WEIGHTS[key] * value for key, value in terms.items()) / sum(WEIGHTS[key] for key in terms)
        choices.append(Choice(ref, score, terms, similarity))
    return sorted(choices, key=lambda choice: -choice.score)


def similarity_to(embedding: np.ndarray | None, person: Person) -> float | None:
    """Cosine of a degraded face to the middle of a person's photos; None without a guard."""
    if embedding is None or any(ref.embedding is None for ref in person.references):
        return None
    return float(embedding @ centre(person))


def assign(
    embeddings: Sequence[np.ndarray | None],
    people: Sequence[Person],
    threshold: float | None,
    alone: bool | None = None,
) -> list[tuple[Person | None, float | None]]:
    """Who is who on one photo; nobody is on it twice.

    A face that is alone on its photo gets the person most like it, however unlike: what happens then is for the caller
    to say. Of several faces those that are like nobody get nobody. Without a guard the first person is the first face.

    Args:
        embeddings: of the degraded faces.
        people: whose references there are.
        threshold: least similarity of the same person; None without a guard.
        alone: whether there is one face only on the photo; None: if one is given.

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
