"""Deployments and traces on the wire."""

from scorestream.deployment_records import DeploymentInfo, DeploymentState, Trace, TraceNode
from scorestream.errors import InvalidArgumentError
from scorestream.v1 import deployment_pb2, trace_service_pb2
from scorestream.wire import last, model_label, time_of, time_or_none, value_of


def deployment_name(deployment: str) -> str:
    """Return the resource name of a deployment that is given by its id or its resource name."""
    return deployment if deployment.startswith("deployments/") else f"deployments/{deployment}"


def deployment_info(message: deployment_pb2.Deployment) -> DeploymentInfo:
    """Return a deployment's description."""
    return DeploymentInfo(
        id=last(message.name),
        model=model_label(message.model),
        service_tag=message.service_tag,
        stage=message.stage,
        state=value_of(
            DeploymentState, deployment_pb2.DeploymentState, message.state, DeploymentState.DEPLOYING
        ),
        context=last(message.context),
        reason=message.reason,
        owner=message.owner,
        created=time_of(message.create_time),
        updated=time_of(message.update_time),
        input=message.input,
        output=message.output,
        running_jobs=message.running_jobs,
    )


def state_number(state: DeploymentState | str) -> "deployment_pb2.DeploymentState.ValueType":
    """Return a state for the wire; upper and lower case are the same.

    Raises:
        InvalidArgumentError: there is no such state.
    """
    if state.upper() not in DeploymentState.__members__:
        known = ", ".join(known.lower() for known in DeploymentState)
        raise InvalidArgumentError(
            f"{state!r} is no state of a deployment; there are {known}.", reason="BAD_STATE"
        )
    return deployment_pb2.DeploymentState.Value(f"DEPLOYMENT_STATE_{state.upper()}")


def trace_of(message: trace_service_pb2.Trace) -> Trace:
    """Return a trace."""
    return Trace(tuple(map(_node, message.roots)), message.more)


def _node(message: trace_service_pb2.TraceNode) -> TraceNode:
    known = message.kind in trace_service_pb2.TraceKind.values()
    kind = trace_service_pb2.TraceKind.Name(message.kind) if known else "TRACE_KIND_UNSPECIFIED"
    return TraceNode(
        kind.removeprefix("TRACE_KIND_").lower(),
        message.id,
        message.name,
        message.state,
        message.detail,
        time_or_none(message, "create_time"),
        tuple(map(_node, message.children)),
    )
