"""What every model family offers a worker."""

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from scorestream_server.device.base import Lane
from scorestream_server.domain.model import ModelSchema
from scorestream_server.scoring.reasons import WantedReasons
from scorestream_server.scoring.row_errors import RowErrors


class Scorer(Protocol):
    """A model, loaded and prepared for one device; safe to use from several lanes at once."""

    @property
    def schema(self) -> ModelSchema:
        """What the model needs and gives."""
        ...

    @property
    def rows_at_once(self) -> int:
        """The most rows that `score` may be given."""
        ...

    def score(
        self, columns: Sequence[pa.Array], lane: Lane, errors: RowErrors | None = None
    ) -> list[pa.Array]:
        """Score rows.

        Args:
            columns: one Arrow array a feature, all of one length, in the order of ``schema.features``
                (already matched by name or by place; types as the table has them).
            lane: where to compute; used by this call alone while it lasts.
            errors: takes the rows that cannot be scored, because of a value in them. What is returned for them means
                nothing. None: the first one is raised.

        Returns:
            One Arrow array for each of ``schema.outputs``, each of the length of the inputs.

        Raises:
            ScorestreamError: a value or a type that the model cannot take.
        """
        ...

    def explain(
        self,
        columns: Sequence[pa.Array],
        scores: Sequence[pa.Array],
        lane: Lane,
        wanted: WantedReasons,
        errors: RowErrors | None = None,
    ) -> list[pa.Array]:
        """Give rows' reasons: the features that moved their scores most.

        Args:
            columns: as for `score`.
            scores: what `score` returned for them.
            lane: likewise.
            wanted: how many a row, at least 1 and at most as many as there are features, and what these are called.
            errors: as for `score`.

        Returns:
            The columns that `reasons.with_reasons` adds to a result.

        Raises:
            ScorestreamError: MODEL_NOT_EXPLAINED.
        """
        ...
