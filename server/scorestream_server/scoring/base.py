"""What every model family offers a worker."""

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from scorestream_server.device.base import Lane
from scorestream_server.domain.model import ModelSchema


class Scorer(Protocol):
    """A model, loaded and prepared for one device; safe to use from several lanes at once."""

    @property
    def schema(self) -> ModelSchema:
        """What the model needs and gives."""
        ...

    def score(self, columns: Sequence[pa.Array], lane: Lane) -> list[pa.Array]:
        """Score rows.

        Args:
            columns: one Arrow array a feature, all of one length, in the order of ``schema.features``
                (already matched by name or by place; types as the table has them).
            lane: where to compute; used by this call alone while it lasts.

        Returns:
            One Arrow array for each of ``schema.outputs``, each of the length of the inputs.

        Raises:
            ScorestreamError: a value or a type that the model cannot take.
        """
        ...

    def explain(
        self, columns: Sequence[pa.Array], scores: Sequence[pa.Array], lane: Lane, reasons: int
    ) -> list[pa.Array]:
        """Give rows' reasons: the features that moved their scores most.

        Args:
            columns: as for `score`.
            scores: what `score` returned for them.
            lane: likewise.
            reasons: how many a row, at least 1 and at most as many as there are features.

        Returns:
            The columns that `reasons.with_reasons` adds to a result.

        Raises:
            ScorestreamError: MODEL_NOT_EXPLAINED.
        """
        ...
