"""The asyncio client: same names as the blocking one, `await`ed.

Everything else (errors, events, states) is shared with `scorestream` itself.
"""

from scorestream.aio.batch import AsyncBatch
from scorestream.aio.batch_result import AsyncBatchResult
from scorestream.aio.cache import AsyncCache
from scorestream.aio.client import AsyncClient, connect, local
from scorestream.aio.contexts import AsyncContexts
from scorestream.aio.deployments import AsyncDeployment, AsyncDeployments
from scorestream.aio.job import AsyncJob
from scorestream.aio.libraries import AsyncLibraries
from scorestream.aio.model import AsyncModel
from scorestream.aio.options import AsyncOptions
from scorestream.aio.processes import AsyncProcess, AsyncProcesses
from scorestream.aio.schedules import AsyncSchedules
from scorestream.aio.services import AsyncService
from scorestream.aio.session import AsyncSession
from scorestream.aio.table import AsyncTable
from scorestream.aio.variables import AsyncVariables

__all__ = [
    "AsyncBatch",
    "AsyncBatchResult",
    "AsyncCache",
    "AsyncClient",
    "AsyncContexts",
    "AsyncDeployment",
    "AsyncDeployments",
    "AsyncJob",
    "AsyncLibraries",
    "AsyncModel",
    "AsyncOptions",
    "AsyncProcess",
    "AsyncProcesses",
    "AsyncSchedules",
    "AsyncService",
    "AsyncSession",
    "AsyncTable",
    "AsyncVariables",
    "connect",
    "local",
]
