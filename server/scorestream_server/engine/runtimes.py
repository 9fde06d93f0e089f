"""Runtimes: the contexts that deployments are matched to, by their tags and by how much they have to do."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from scorestream_server.domain.deployment import Runtime, match, missing_tags, why_none
from scorestream_server.domain.errors import ScorestreamError, precondition
from scorestream_server.engine.engine import Engine
from scorestream_server.store.contexts import ContextStore
from scorestream_server.store.database import Database


class Runtimes:
    """Matches deployments to contexts; used on the event loop only."""

    def __init__(self, database: Database, contexts: ContextStore, engine: Engine) -> None:
        self._database = database
        self._contexts = contexts
        self._engine = engine
        self._starting: Counter[str] = Counter()

    async def match(self, service_tag: str, stage: str) -> str:
        """Return the context that is to run something of these tags now.

        Raises:
            ScorestreamError: FAILED_PRECONDITION, NO_RUNTIME, naming the tags that are missing.
        """
        contexts = await self._database.read(self._contexts.every)
        load = Counter(active.job.spec.context for active in self._engine.jobs.values()) + self._starting
        runtimes = [
            Runtime(
                context.id,
                frozenset(context.settings.service_tags),
                frozenset(context.settings.stage_tags),
                load[context.id],
            )
            for context in contexts
        ]
        found = match(runtimes, service_tag, stage)
        if found is None:
            raise no_runtime(runtimes, service_tag, stage)
        return found

    @contextmanager
    def starting(self, context: str) -> Iterator[None]:
        """Count a job of a context that is not recorded yet, while the block runs."""
        self._starting[context] += 1
        try:
            yield
        finally:
            self._starting[context] -= 1


def no_runtime(runtimes: list[Runtime], service_tag: str, stage: str) -> ScorestreamError:
    """Return the refusal of what no runtime matches."""
    return precondition(
        "NO_RUNTIME",
        f"{why_none(runtimes, service_tag, stage)}. Tag one with: scorestream context tag add CONTEXT --service "
        f"{service_tag} --stage {stage}",
        service_tag=service_tag,
        stage=stage,
        missing=", ".join(missing_tags(runtimes, service_tag, stage)),
    )
