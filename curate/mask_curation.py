"""Decide which masks are good: by how sure the proposal is, and by whether proposal and prediction agree."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from refstar.data.mask_proposal import LEAST, Proposal, without_specks

SMALLEST = 0.03  # selected share of the picture below which a pair is of no use
TEACHERS, MOST_TEACHERS = 0.5, 1500  # the network learns from this share of the proposals, the best; and from no more


@dataclass(frozen=True)
class Strictness:
    """What an accepted mask has at least: confidence of the proposal, IoU of proposal and prediction."""

    confidence: float
    agreement: float


def confidence(proposal: Proposal) -> float:
    """Return how good a proposal is likely to be, in [0, 1]: likeness of the faces, times the sureness of the pixels.

    Sureness is the expected IoU with the truth if every pixel's probability is right, and independent.
    """
    mask = proposal.probability > 0.5
    rest = proposal.probability[~mask].sum()
    sureness = float(proposal.probability[mask].sum() / max(mask.sum() + rest, 1e-6))
    return sureness * proposal.likeness


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Return the IoU of what two probabilities select; 1 if both select nothing."""
    a, b = a > 0.5, b > 0.5
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def teachers(records: list[Mapping]) -> list[Mapping]:
    """Return the proposals to learn from: of those that select enough, the more confident ones, in the given order."""
    usable = [record for record in records if record['area'] >= SMALLEST]
    ranked = sorted(usable, key=lambda record: -record['confidence'])
    chosen = {record['id'] for record in ranked[: min(MOST_TEACHERS, -int(-TEACHERS * len(ranked) // 1))]}
    return [record for record in usable if record['id'] in chosen]


def merge(proposal: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return the mask that both give together: where the mean of their probabilities exceeds a half, (S, S) bool."""
    return without_specks((proposal + prediction) / 2 > 0.5, LEAST)


def objection(record: Mapping, least: Strictness) -> str:
    """Return why a mask is not accepted; '' if it is."""
    if record['area'] < SMALLEST:
        return f'selects {100 * record["area"]:.1f} % of the picture'
    if record['confidence'] < least.confidence:
        return f'confidence {record["confidence"]:.2f}'
    if record.get('agreement', 1.0) < least.agreement:
        return f'proposal and prediction agree by {record["agreement"]:.2f} only'
    return ''
