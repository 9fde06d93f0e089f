"""The client of a scorestream server: what users import and type.

`connect` reaches a server, `local` starts a private one; `scorestream.aio` has the same for asyncio.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scorestream.batch import Batch
    from scorestream.batch_records import BatchState, Execution
    from scorestream.batch_result import BatchResult
    from scorestream.cache import Cache
    from scorestream.cache_records import CacheDirectory, CachedTable, CacheInfo, CacheUse, Evicted
    from scorestream.client import Client, connect, local
    from scorestream.context_records import ContextInfo, QueueInfo
    from scorestream.contexts import Contexts
    from scorestream.deployment_records import DeploymentInfo, DeploymentState, Trace, TraceNode
    from scorestream.deployments import Deployment, Deployments
    from scorestream.errors import (
        AbortedError,
        AlreadyExistsError,
        DataLossError,
        DeadlineExceededError,
        FailedPreconditionError,
        Fault,
        InternalError,
        InvalidArgumentError,
        JobCancelledError,
        JobFailedError,
        JobTimedOutError,
        NotFoundError,
        OutOfRangeError,
        PermissionDeniedError,
        RequestCancelledError,
        ResourceExhaustedError,
        ScorestreamError,
        UnauthenticatedError,
        UnavailableError,
        UnimplementedError,
        UnknownError,
    )
    from scorestream.file_records import ColumnInfo, FileInfo, FilerefInfo
    from scorestream.job import Job
    from scorestream.libraries import Libraries
    from scorestream.library_records import (
        BackingStore,
        LibraryInfo,
        SourceChange,
        TableDescription,
        TableSource,
    )
    from scorestream.model import Model
    from scorestream.model_records import (
        FeatureType,
        ModelComparison,
        ModelDifference,
        ModelFeature,
        ModelInfo,
        ModelOutput,
        ModelTraining,
    )
    from scorestream.options import Options
    from scorestream.outcomes import LogLine, LogLineType, ResultLink, ResultType
    from scorestream.outputs import OutputOptions
    from scorestream.process_records import (
        IncidentInfo,
        IncidentState,
        Missed,
        ProcessInfo,
        ProcessState,
        ScheduleInfo,
    )
    from scorestream.processes import Process, Processes
    from scorestream.records import (
        Device,
        DeviceProcess,
        Event,
        EventType,
        JobFailure,
        JobInfo,
        Priority,
        Role,
        SessionInfo,
        SessionState,
        State,
        StatusRow,
        TableInfo,
        TokenInfo,
    )
    from scorestream.row_errors import OnRowError
    from scorestream.schedules import Schedules
    from scorestream.services import Service
    from scorestream.session import Session
    from scorestream.settings import Engine, Option, Origin
    from scorestream.table import Table
    from scorestream.variables import Variables

__all__ = [
    "AbortedError",
    "AlreadyExistsError",
    "BackingStore",
    "Batch",
    "BatchResult",
    "BatchState",
    "Cache",
    "CacheDirectory",
    "CacheInfo",
    "CacheUse",
    "CachedTable",
    "Client",
    "ColumnInfo",
    "ContextInfo",
    "Contexts",
    "DataLossError",
    "DeadlineExceededError",
    "Deployment",
    "DeploymentInfo",
    "DeploymentState",
    "Deployments",
    "Device",
    "DeviceProcess",
    "Engine",
    "Event",
    "EventType",
    "Evicted",
    "Execution",
    "FailedPreconditionError",
    "Fault",
    "FeatureType",
    "FileInfo",
    "FilerefInfo",
    "IncidentInfo",
    "IncidentState",
    "InternalError",
    "InvalidArgumentError",
    "Job",
    "JobCancelledError",
    "JobFailedError",
    "JobFailure",
    "JobInfo",
    "JobTimedOutError",
    "Libraries",
    "LibraryInfo",
    "LogLine",
    "LogLineType",
    "Missed",
    "Model",
    "ModelComparison",
    "ModelDifference",
    "ModelFeature",
    "ModelInfo",
    "ModelOutput",
    "ModelTraining",
    "NotFoundError",
    "OnRowError",
    "Option",
    "Options",
    "Origin",
    "OutOfRangeError",
    "OutputOptions",
    "PermissionDeniedError",
    "Priority",
    "Process",
    "ProcessInfo",
    "ProcessState",
    "Processes",
    "QueueInfo",
    "RequestCancelledError",
    "ResourceExhaustedError",
    "ResultLink",
    "ResultType",
    "Role",
    "ScheduleInfo",
    "Schedules",
    "ScorestreamError",
    "Service",
    "Session",
    "SessionInfo",
    "SessionState",
    "SourceChange",
    "State",
    "StatusRow",
    "Table",
    "TableDescription",
    "TableInfo",
    "TableSource",
    "TokenInfo",
    "Trace",
    "TraceNode",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UnknownError",
    "Variables",
    "connect",
    "local",
]

# Where the names that are not errors or records live. Loaded at first use: gRPC takes a tenth of a second,
# which `scorestream --help` and shell completion need not wait for.
HOMES = {
    "Batch": "batch",
    "BatchResult": "batch_result",
    "BatchState": "batch_records",
    "Execution": "batch_records",
    "Service": "services",
    "Cache": "cache",
    "CacheDirectory": "cache_records",
    "CacheInfo": "cache_records",
    "CacheUse": "cache_records",
    "CachedTable": "cache_records",
    "Evicted": "cache_records",
    "Client": "client",
    "ContextInfo": "context_records",
    "Contexts": "contexts",
    "Deployment": "deployments",
    "DeploymentInfo": "deployment_records",
    "DeploymentState": "deployment_records",
    "Deployments": "deployments",
    "Trace": "deployment_records",
    "TraceNode": "deployment_records",
    "ColumnInfo": "file_records",
    "FileInfo": "file_records",
    "FilerefInfo": "file_records",
    "Engine": "settings",
    "Job": "job",
    "BackingStore": "library_records",
    "Libraries": "libraries",
    "LibraryInfo": "library_records",
    "SourceChange": "library_records",
    "TableDescription": "library_records",
    "TableSource": "library_records",
    "Model": "model",
    "FeatureType": "model_records",
    "ModelComparison": "model_records",
    "ModelDifference": "model_records",
    "ModelFeature": "model_records",
    "ModelInfo": "model_records",
    "ModelOutput": "model_records",
    "ModelTraining": "model_records",
    "IncidentInfo": "process_records",
    "IncidentState": "process_records",
    "Missed": "process_records",
    "Process": "processes",
    "ProcessInfo": "process_records",
    "ProcessState": "process_records",
    "Processes": "processes",
    "QueueInfo": "context_records",
    "ScheduleInfo": "process_records",
    "Schedules": "schedules",
    "LogLine": "outcomes",
    "LogLineType": "outcomes",
    "ResultLink": "outcomes",
    "ResultType": "outcomes",
    "Option": "settings",
    "Options": "options",
    "Origin": "settings",
    "OnRowError": "row_errors",
    "OutputOptions": "outputs",
    "Session": "session",
    "Table": "table",
    "Variables": "variables",
    "connect": "client",
    "local": "client",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = HOMES.get(name, "errors" if name.endswith("Error") or name == "Fault" else "records")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return [*__all__, "aio"]
