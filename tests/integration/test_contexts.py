"""Bad input about contexts and queues: refused with what is wrong and what to do, and nothing has changed."""

import uuid
from collections.abc import Callable, Iterator

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

import scorestream
from scorestream import ContextInfo
from scorestream.v1 import context_pb2, context_service_pb2, session_service_pb2


@pytest.fixture
def context(client: scorestream.Client) -> Iterator[ContextInfo]:
    """A context of one test's own."""
    made = client.contexts.create(f"c_{uuid.uuid4().hex[:8]}", session_inactive_timeout=60)
    yield made
    for session in client.sessions():
        if session.context == made.name:
            session.terminate(cancel=True)
    if made.name in {found.name for found in client.contexts.list()}:
        client.contexts.delete(made.name)


def refusal(by: Callable[[], object]) -> scorestream.ScorestreamError:
    with pytest.raises(scorestream.ScorestreamError) as caught:
        by()
    return caught.value


def test_a_stale_etag_is_refused_and_says_what_changed(
    client: scorestream.Client, context: ContextInfo
) -> None:
    """Whoever changes what somebody else changed meanwhile is told, with the etag of now; so is who deletes it."""
    newer = client.contexts.update(context.name, etag=context.etag, task_timeout=30)
    assert newer.etag != context.etag
    for change in (
        lambda: client.contexts.update(context.name, etag=context.etag, task_timeout=40),
        lambda: client.contexts.delete(context.name, etag=context.etag),
    ):
        error = refusal(change)
        assert isinstance(error, scorestream.FailedPreconditionError)
        assert error.reason == "STALE_ETAG"
        assert context.etag in str(error)
        assert newer.etag in str(error)
        assert error.metadata["etag"] == newer.etag
    assert client.contexts.get(context.name) == newer
    client.contexts.delete(context.name, etag=newer.etag)
    assert isinstance(refusal(lambda: client.contexts.get(context.name)), scorestream.NotFoundError)


def test_all_attributes_out_of_their_range_are_named_at_once(
    client: scorestream.Client, context: ContextInfo
) -> None:
    """At creation and at a change, where what stays is checked together with what comes."""
    wrong = {
        "session_inactive_timeout": 1e9,
        "server_pool_scale_threshold": 101,
        "server_pool_scale_step": 0,
        "server_launch_timeout": 0.0,
        "queue_name": "defualt",
        "device": "cuda:7000",
        "allow_xcmd": "true",
        "run_server_as": "no_such_user_at_all",
    }
    for call in (
        lambda: client.contexts.create("never_made", **wrong),  # type: ignore[arg-type]  # as clients may
        lambda: client.contexts.update(context.name, **wrong),  # type: ignore[arg-type]
    ):
        error = refusal(call)
        assert isinstance(error, scorestream.InvalidArgumentError)
        assert {fault.field for fault in error.faults} == {f"context.{name}" for name in wrong}
    assert "never_made" not in {found.name for found in client.contexts.list()}
    client.contexts.update(context.name, server_max_available=2)
    error = refusal(lambda: client.contexts.update(context.name, server_min_available=3))
    assert [fault.field for fault in error.faults] == ["context.server_min_available"]
    assert client.contexts.get(context.name).server_min_available == 0


@pytest.mark.parametrize("name", ["", "../default", "a b", "-a", "x" * 64, "ä", "a/b", "sessions/default"])
def test_names_are_allow_listed(client: scorestream.Client, name: str) -> None:
    """Where a context is made, named, and where a session is made from it."""
    for call in (
        lambda: client.contexts.create(name),
        lambda: client.contexts.get(f"contexts/{name}"),
        lambda: client.contexts.delete(f"contexts/{name}"),
        lambda: client.contexts.update(f"contexts/{name}", description="x"),
        lambda: client.create_session(context=f"contexts/{name}"),
    ):
        error = refusal(call)
        assert isinstance(error, scorestream.InvalidArgumentError)
        assert error.reason == "INVALID_NAME"


def test_what_is_not_there_or_there_already_is_said(client: scorestream.Client, context: ContextInfo) -> None:
    """A session of no context, a queue that is none, a name that is taken."""
    for call in (
        lambda: client.create_session(context="no_such"),
        lambda: client.contexts.update("no_such", description="x"),
        lambda: client.contexts.delete("no_such"),
    ):
        error = refusal(call)
        assert isinstance(error, scorestream.NotFoundError)
        assert error.reason == "CONTEXT_NOT_FOUND"
    error = refusal(lambda: client.create_session(queue="defautl"))
    assert isinstance(error, scorestream.InvalidArgumentError)
    assert "did you mean default?" in str(error)
    for taken in (context.name, "default"):
        assert refusal(lambda taken=taken: client.contexts.create(taken)).reason == "CONTEXT_EXISTS"  # type: ignore[misc]


def test_a_context_in_use_is_not_deleted_nor_changed_under_its_sessions(
    client: scorestream.Client, context: ContextInfo
) -> None:
    """How many sessions there are, and the first of them; what does not touch them may change."""
    sessions = [client.create_session(f"user_{number}", context=context.name) for number in range(5)]
    for change, what in (
        (lambda: client.contexts.delete(context.name), "delete"),
        (
            lambda: client.contexts.update(context.name, device="cpu", reuse_server_processes=True),
            "change device and reuse_server_processes of",
        ),
    ):
        error = refusal(change)
        assert isinstance(error, scorestream.FailedPreconditionError)
        assert error.reason == "CONTEXT_IN_USE"
        assert f"cannot {what} context" in str(error)
        assert "5 open sessions were made from it ('user_0', 'user_1', 'user_2' and 2 more)" in str(error)
        assert error.metadata["sessions"] == "5"
    changed = client.contexts.update(context.name, session_inactive_timeout=5, device="auto")
    assert changed.session_inactive_timeout == 5
    assert sessions[0].refresh().info.inactive_timeout == 60
    for session in sessions:
        session.terminate()
    assert client.contexts.update(context.name, device="cpu").device == "cpu"
    client.contexts.delete(context.name)
    assert sessions[0].refresh().context == context.name


def test_what_is_built_in_stays_and_says_where_it_comes_from(client: scorestream.Client) -> None:
    for change in (
        lambda: client.contexts.update("default", description="mine"),
        lambda: client.contexts.delete("default"),
    ):
        error = refusal(change)
        assert isinstance(error, scorestream.FailedPreconditionError)
        assert error.reason == "CONTEXT_BUILT_IN"
        assert "comes from the server itself" in str(error)


def update(
    client: scorestream.Client, request: context_service_pb2.UpdateContextRequest
) -> context_pb2.Context:
    answer = client._connection.call(client._connection.contexts.UpdateContext, request)
    assert isinstance(answer, context_pb2.Context)
    return answer


def test_a_mask_changes_what_it_names(client: scorestream.Client, context: ContextInfo) -> None:
    """Named and not set is the default; no mask is what is set; a star is all; what cannot be changed is refused."""
    name = f"contexts/{context.name}"
    message = context_pb2.Context(name=name, description="new", server_reuse_limit=7)

    def masked(*paths: str) -> context_pb2.Context:
        request = context_service_pb2.UpdateContextRequest(
            context=message, update_mask=FieldMask(paths=paths)
        )
        return update(client, request)

    assert (masked("description").description, masked("description").server_reuse_limit) == ("new", 0)
    assert masked("session_inactive_timeout").session_inactive_timeout == Duration(seconds=900)
    assert masked().server_reuse_limit == 7
    client.contexts.update(context.name, task_timeout=9)
    assert not masked("*").HasField("task_timeout")
    for paths in (["etag"], ["name", "owner"], ["labels.team"], ["descripton"], ["x" * 5_000_000]):
        error = refusal(lambda paths=paths: masked(*paths))  # type: ignore[misc]
        assert isinstance(error, scorestream.InvalidArgumentError)
        assert len(error.faults) == len(paths)


def test_a_time_beyond_all_times_is_refused(client: scorestream.Client, context: ContextInfo) -> None:
    """What a message can hold and a computer cannot reckon with; negative means 15 minutes, however negative."""
    name = f"contexts/{context.name}"
    huge = context_pb2.Context(name=name, server_inactive_timeout=Duration(seconds=9 * 10**18))
    assert refusal(lambda: update(client, context_service_pb2.UpdateContextRequest(context=huge))).reason == (
        "INVALID_CONTEXT"
    )
    unset = context_pb2.Context(name=name, session_inactive_timeout=Duration(seconds=-(10**18)))
    made = update(client, context_service_pb2.UpdateContextRequest(context=unset))
    assert made.session_inactive_timeout == Duration(seconds=900)


def test_a_request_that_comes_twice_makes_one_context(client: scorestream.Client) -> None:
    """And its id is good for nothing else."""
    request = context_service_pb2.CreateContextRequest(
        context_id=f"c_{uuid.uuid4().hex[:8]}", request_id=uuid.uuid4().hex
    )
    made = [client._connection.call(client._connection.contexts.CreateContext, request) for _ in range(2)]
    assert made[0] == made[1]
    other = session_service_pb2.CreateSessionRequest(request_id=request.request_id)
    create = client._connection.sessions.CreateSession
    assert refusal(lambda: client._connection.call(create, other)).reason == "REQUEST_ID_REUSED"
    client.contexts.delete(request.context_id)


def test_pages_go_on_where_a_token_says_and_refuse_others(client: scorestream.Client) -> None:
    listing = client._connection.contexts.ListContexts
    for wrong in ("a b", "-1", "x" * 1000):
        request = context_service_pb2.ListContextsRequest(page_token=wrong)
        error = refusal(lambda request=request: client._connection.call(listing, request))  # type: ignore[misc]
        assert error.reason == "INVALID_PAGE"


def test_the_client_names_what_is_no_attribute(client: scorestream.Client) -> None:
    """Before it asks anybody."""
    error = refusal(lambda: client.contexts.create("x", task_timout=3))  # type: ignore[call-arg]  # as users do
    assert "did you mean task_timeout?" in str(error)
    error = refusal(lambda: client.contexts.create("x", server_reuse_limit="many"))  # type: ignore[arg-type]
    assert str(error).startswith("server_reuse_limit cannot be 'many'")
