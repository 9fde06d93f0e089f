"""Several things that are wrong with one request, told in one answer."""

from collections.abc import Iterator
from contextlib import contextmanager

from scorestream_server.domain.errors import FieldFault, ScorestreamError


class Faults:
    """Collects the refusals of checks that do not depend on each other, to be raised as one."""

    def __init__(self) -> None:
        self._found: list[tuple[str, ScorestreamError]] = []

    @contextmanager
    def of(self, field: str) -> Iterator[None]:
        """Keep a refusal by what is done here: it is about this field of the request."""
        try:
            yield
        except ScorestreamError as error:
            self._found.append((field, error))

    def raise_any(self) -> None:
        """Raise what was found; call it before what the checks gave is used.

        Raises:
            ScorestreamError: the only refusal as it is; of several the code and reason of the first, a sentence
                for each, every fault of each, and all their reasons in the metadata's ``reasons``.
        """
        if not self._found:
            return
        first = self._found[0][1]
        if len(self._found) == 1:
            raise first
        sentences = [f"{len(self._found)} things are wrong with this request."]
        faults: list[FieldFault] = []
        for field, error in self._found:
            named = error.message.startswith(f"{field}:")
            sentences.append(error.message if named else f"{field}: {error.message}")
            faults += error.faults or [FieldFault(field, error.message)]
        reasons = ", ".join(dict.fromkeys(error.reason for _, error in self._found))
        raise ScorestreamError(
            first.code,
            first.reason,
            "\n".join(sentences),
            tuple(faults),
            {**first.metadata, "reasons": reasons},
        )
