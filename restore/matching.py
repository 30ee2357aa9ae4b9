"""Match the faces of a photo with people, and choose the most useful references for a face."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from refstar.utils.errors import RefStarError

from .faces import AlignedFace, IdentityVerdict, Person, ReferenceChoice, RestoreSettings
from .identity_check import IdentityChecker, cosine
from .input_files import LOOSE
from .references import compare

TWICE = 0.99  # probability from which a face is a person's who was found on another face of the photo already
# Chosen on people of lfw_val, by how much closer to the truth each term brings the result.
WEIGHTS = {'identity': 3.0, 'pose': 0.5, 'expression': 0.5, 'light': 0.5, 'sharpness': 0.5}


def match_people(
    faces: Sequence[AlignedFace], people: Sequence[Person], checker: IdentityChecker | None, alone: bool
) -> list[tuple[Person | None, IdentityVerdict]]:
    """Match the faces of one photo with people; return the person of every face, and the verdict on them.

    A face that is `alone` on its photo gets the likeliest person, however unlikely: the caller decides what happens
    then. Several faces and people are matched one to one: faces that are rather not the person get nobody, but a person
    who is surely there twice counts twice. Without an identity network the first face gets the first person, and so on.
    """
    result: list[tuple[Person | None, IdentityVerdict]] = [(None, IdentityVerdict())] * len(faces)
    table = [[compare(face.embedding, person, checker) for person in people] for face in faces]
    if checker is None:
        result[: len(people)] = [(person, table[i][i]) for i, person in enumerate(people[: len(faces)])]
    elif people and faces:
        likely = np.array([[verdict.probability or 0.0 for verdict in row] for row in table])
        odds = likely / np.maximum(1 - likely, 1e-9)
        pairs = dict(best_pairs(likely))
        pairs |= {
            face: int(row.argmax())
            for face, row in enumerate(likely)
            if row.max() >= TWICE and (face not in pairs or row[pairs[face]] < 0.5)
        }
        for face, person in pairs.items():
            if alone or likely[face, person] >= 0.5:
                among = odds[face, person] / (1 + odds[face].sum()) if len(people) > 1 else 1.0
                result[face] = people[person], replace(table[face][person], among=float(among))
    return result


def best_pairs(likely: np.ndarray) -> Iterable[tuple[int, int]]:
    """Return the pairs (row, column) of the largest sum, each row and column at most once."""
    if len(likely) == 1:
        return [(0, int(likely.argmax()))]
    from scipy.optimize import linear_sum_assignment  # its import takes half a second

    return zip(*linear_sum_assignment(likely, maximize=True), strict=True)


def rank(face: AlignedFace, person: Person) -> list[ReferenceChoice]:
    """Rank a person's references for a degraded face, the most useful first."""
    choices = []
    for ref in person.references:
        terms, similarity = face.attributes.fit_of(ref.attributes), None
        if face.embedding is not None and ref.embedding is not None:
            similarity = cosine(face.embedding, ref.embedding)
            terms = {'identity': max(0.0, similarity), **terms}
        score = sum(WEIGHTS[key] * value for key, value in terms.items()) / sum(WEIGHTS[key] for key in terms)
        choices.append(ReferenceChoice(ref, score, terms, similarity))
    return sorted(choices, key=lambda choice: -choice.score)


def choose_references(
    face: AlignedFace, person: Person, identity: IdentityVerdict, settings: RestoreSettings
) -> AlignedFace:
    """Choose references of one person by the identity policy, then by usefulness.

    Raises:
        RefStarError: the references are likely a stranger's and the settings refuse that.
    """
    ranked, dropped, notes = rank(face, person), dict(person.dropped), []
    whose = '' if person.name == LOOSE else f' of {person.name}'
    if identity.stranger:
        text = f'The good photos{whose} likely show somebody else than this face'
        if settings.on_wrong_identity == 'refuse':
            raise RefStarError(f'{text} (probability of the same person {identity.probability:.0%}): refused')
        if settings.on_wrong_identity == 'drop':
            dropped |= {choice.reference.name: 'likely shows somebody else' for choice in ranked}
            ranked, identity = [], replace(identity, person=None)
        notes = [f'{text}: {"not used" if settings.on_wrong_identity == "drop" else "used all the same"}.']
    elif identity.unsure:
        notes = [f'It is not certain that the good photos{whose} show the person of this face: used, look closely.']
    for choice in ranked[settings.num_refs :]:
        dropped[choice.reference.name] = f'less useful than {settings.num_refs} others'
    return replace(face, chosen=ranked[: settings.num_refs], identity=identity, dropped=dropped, notes=notes)
