"""How far a face is a person's, judged by all samples of the person and beside other people. Pure.

A person's *template* is the mean of the directions of their vectors, as a direction again. The *background*
is a set of directions in which other people lie, none of them a single face. A direction's *typicality* is
its mean cosine to the nearest few of them: faces that resemble everybody get less credit,

    score = cos(probe, template) - w typicality(probe) - w typicality(template)

which is what S-norm does in speaker verification (Kenny, Odyssey 2010) and CSLS against hubs among words
(Conneau et al., arXiv 1710.04087). `benchmarks/identification.py` measures it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

# Of 0.15 to 0.5, and of 1 to 20: the best or next to it for people of LFW who are enrolled with one to three
# pictures, at each FPIR from 3 % to 0.3 %. It matters little nearby.
WEIGHT = 0.25
NEIGHBOURS = 4


def directions(vectors: NDArray[np.floating]) -> Doubles:
    """Scale vectors, (..., d), to length 1; one of length 0 stays what it is."""
    values = vectors.astype(np.float64)
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / np.where(lengths > 0, lengths, 1)


def template(vectors: NDArray[np.floating]) -> Doubles:
    """Return the template of a person: the samples' vectors, (n, d), n > 0 -> float64 (d,), of length 1."""
    alone: Doubles = templates(vectors, np.zeros(len(vectors), np.intp))[0]
    return alone


def templates(vectors: NDArray[np.floating], owners: NDArray[np.intp]) -> Doubles:
    """Return the templates of several people.

    vectors: (n, d); owners: whose each is, int (n,), where each of 0 to m - 1 has one or more.

    Returns:
        float64 (m, d), of length 1.
    """
    sums = np.zeros((owners.max(initial=-1) + 1, vectors.shape[1]))
    np.add.at(sums, owners, directions(vectors))
    return directions(sums)


def typicality(towards: Doubles, background: NDArray[np.floating]) -> Doubles:
    """Tell how much directions, float64 (n, d), resemble a background, (c, d): float64 (n,), in [-1, 1]."""
    cosines = towards @ background.T.astype(np.float64)
    if cosines.shape[1] > NEIGHBOURS:
        cosines = np.partition(cosines, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:]
    nearest: Doubles = cosines.mean(axis=1)
    return nearest


def scores(probes: Doubles, templates: Doubles, background: NDArray[np.floating]) -> Doubles:
    """Score each probe with each person.

    Args:
        probes, templates: directions, float64 (n, d) and (m, d).
        background: directions, (c, d), c > 0.

    Returns:
        float64 (n, m), larger is more alike.
    """
    own, theirs = typicality(probes, background), typicality(templates, background)
    return probes @ templates.T - WEIGHT * (own[:, None] + theirs[None])
