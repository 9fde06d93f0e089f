"""Nobody in: every method of every service asks who is calling, and shows nobody what is not theirs."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import grpc
import pyarrow as pa
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import scorestream
from principals import SIGNAL, Belongings, People, belongings, people
from scorestream.v1 import (
    cache_service_pb2,
    context_pb2,
    context_service_pb2,
    data_pb2,
    data_service_pb2,
    deployment_service_pb2,
    device_service_pb2,
    engine_service_pb2,
    file_service_pb2,
    fileref_service_pb2,
    job_pb2,
    job_service_pb2,
    library_service_pb2,
    log_service_pb2,
    model_pb2,
    model_service_pb2,
    option_service_pb2,
    process_service_pb2,
    report_service_pb2,
    row_artifact_service_pb2,
    schedule_service_pb2,
    session_pb2,
    session_service_pb2,
    table_action_service_pb2,
    table_pb2,
    table_save_pb2,
    table_service_pb2,
    token_pb2,
    token_service_pb2,
    trace_service_pb2,
    variable_pb2,
    variable_service_pb2,
)
from served import raw_channel, with_metadata

HEALTH = "grpc.health.v1.Health"
DENIED = grpc.StatusCode.PERMISSION_DENIED
MISSING = grpc.StatusCode.NOT_FOUND
ANYBODY = grpc.StatusCode.OK
"""For what shows only one's own, or what all may see; the tests below look at what is shown."""


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    with people(tmp_path_factory.mktemp("identity") / "data") as found:
        yield found


@pytest.fixture(scope="module")
def alices(known: People) -> Belongings:
    return belongings(known.alice)


def cases(alices: Belongings) -> dict[str, tuple[list[Any], grpc.StatusCode]]:
    """Return for each method a call about what is Alice's, and what Bob is to be answered."""
    session, job = f"sessions/{alices.session.id}", f"jobs/{alices.job.id}"
    table, model = f"{session}/tables/customers", f"models/{alices.model.name}"
    spec = job_pb2.JobSpec(model=model, table="customers")
    s, j, t, m, d, k, c = (
        session_service_pb2,
        job_service_pb2,
        table_service_pb2,
        model_service_pb2,
        device_service_pb2,
        token_service_pb2,
        context_service_pb2,
    )
    f, r, a = file_service_pb2, fileref_service_pb2, data_service_pb2
    file, fileref = f"{session}/files/hers.txt", f"{session}/filerefs/hers"
    put = [
        f.UploadFileRequest(header=f.UploadFileHeader(name=file, replace=True)),
        f.UploadFileRequest(footer=f.UploadFileFooter(digest=hashlib.sha256(b"").hexdigest())),
    ]
    v, o = variable_service_pb2, option_service_pb2
    b, x, library = library_service_pb2, table_action_service_pb2, f"{session}/libraries/hers"
    p, deployment = deployment_service_pb2, f"deployments/{alices.deployment.id}"
    g, q, process = process_service_pb2, schedule_service_pb2, f"processes/{alices.process.id}"
    incident, schedule = f"incidents/{alices.process.info.incident_id}", "schedules/of_alice"
    one = variable_pb2.VariableValue(int_value=1)
    upload = t.UploadTableRequest(header=t.UploadTableHeader(session=session, table_id="mine"))
    add = [
        m.RegisterModelRequest(header=m.RegisterModelHeader(model_id=alices.model.name, file_name="m.sql")),
        m.RegisterModelRequest(chunk=b"a * 0 AS twice"),
        m.RegisterModelRequest(
            footer=m.RegisterModelFooter(digest=hashlib.sha256(b"a * 0 AS twice").hexdigest())
        ),
    ]
    return {
        "SessionService/CreateSession": ([s.CreateSessionRequest()], ANYBODY),
        "SessionService/GetSession": ([s.GetSessionRequest(name=session)], MISSING),
        "SessionService/ListSessions": ([s.ListSessionsRequest()], ANYBODY),
        "SessionService/UpdateSession": (
            [s.UpdateSessionRequest(session=session_pb2.Session(name=session))],
            MISSING,
        ),
        "SessionService/GetSessionStatistics": ([s.GetSessionStatisticsRequest(name=session)], MISSING),
        "SessionService/KeepSessionAlive": ([s.KeepSessionAliveRequest(name=session)], MISSING),
        "SessionService/TerminateSession": ([s.TerminateSessionRequest(name=session, force=True)], MISSING),
        "SessionService/GetStatus": ([s.GetStatusRequest(sessions=[session])], MISSING),
        "SessionService/WatchSessions": ([s.WatchSessionsRequest(sessions=[session])], MISSING),
        "JobService/CreateJob": ([j.CreateJobRequest(session=session, spec=spec)], MISSING),
        "JobService/GetJob": ([j.GetJobRequest(name=job)], MISSING),
        "JobService/BatchGetJobs": ([j.BatchGetJobsRequest(names=[job])], MISSING),
        "JobService/WaitJob": ([j.WaitJobRequest(name=job)], MISSING),
        "JobService/ListJobs": ([j.ListJobsRequest(session=session)], MISSING),
        "JobService/CancelJob": ([j.CancelJobRequest(name=job)], MISSING),
        "JobService/ResumeJob": ([j.ResumeJobRequest(name=job)], MISSING),
        "JobService/WatchJob": ([j.WatchJobRequest(name=job)], MISSING),
        "JobService/ReadResults": ([j.ReadResultsRequest(name=job)], MISSING),
        "TableService/LoadTable": (
            [t.LoadTableRequest(session=session, table_id="mine", paths=["x.csv"])],
            MISSING,
        ),
        "TableService/UploadTable": ([upload], MISSING),
        "TableService/GetTable": ([t.GetTableRequest(name=table)], MISSING),
        "TableService/ListTables": ([t.ListTablesRequest(session=session)], MISSING),
        "TableService/HeadTable": ([t.HeadTableRequest(name=table)], MISSING),
        "TableService/DropTable": ([t.DropTableRequest(name=table)], MISSING),
        "ModelService/RegisterModel": (add, DENIED),
        "ModelService/GetModel": ([m.GetModelRequest(name=model)], ANYBODY),
        "ModelService/ListModels": ([m.ListModelsRequest()], ANYBODY),
        "ModelService/DeleteModel": ([m.DeleteModelRequest(name=model)], DENIED),
        "DeviceService/ListDevices": ([d.ListDevicesRequest()], ANYBODY),
        "DeviceService/WatchDevices": ([d.WatchDevicesRequest()], ANYBODY),
        "TokenService/CreateToken": (
            [k.CreateTokenRequest(principal="bob", role=token_pb2.ROLE_ADMIN)],
            DENIED,
        ),
        "TokenService/ListTokens": ([k.ListTokensRequest()], DENIED),
        "TokenService/RevokeToken": ([k.RevokeTokenRequest(name="tokens/0")], DENIED),
        "ContextService/CreateContext": ([c.CreateContextRequest(context_id="bobs")], DENIED),
        "ContextService/GetContext": ([c.GetContextRequest(name="contexts/default")], ANYBODY),
        "ContextService/ListContexts": ([c.ListContextsRequest()], ANYBODY),
        "ContextService/UpdateContext": (
            [c.UpdateContextRequest(context=context_pb2.Context(name="contexts/default"))],
            DENIED,
        ),
        "ContextService/DeleteContext": ([c.DeleteContextRequest(name="contexts/default")], DENIED),
        "ContextService/ListWorkers": ([c.ListWorkersRequest(context="contexts/default")], ANYBODY),
        "ContextService/ListQueues": ([c.ListQueuesRequest()], ANYBODY),
        "ModelService/ImportModel": (
            [m.ImportModelRequest(session=session, model_id="m", path="home:m.sql")],
            MISSING,
        ),
        "FileService/UploadFile": (put, MISSING),
        "FileService/DownloadFile": ([f.DownloadFileRequest(name=file)], MISSING),
        "FileService/GetFile": ([f.GetFileRequest(name=file)], MISSING),
        "FileService/ListFiles": ([f.ListFilesRequest(name=f"{session}/files/")], MISSING),
        "FileService/CreateDirectory": ([f.CreateDirectoryRequest(name=f"{session}/files/new")], MISSING),
        "FileService/CopyFile": ([f.CopyFileRequest(name=file, destination="copy")], MISSING),
        "FileService/MoveFile": ([f.MoveFileRequest(name=file, destination="moved")], MISSING),
        "FileService/DeleteFile": ([f.DeleteFileRequest(name=file)], MISSING),
        "FilerefService/AssignFileref": (
            [r.AssignFilerefRequest(session=session, fileref_id="mine", path="home:x")],
            MISSING,
        ),
        "FilerefService/GetFileref": ([r.GetFilerefRequest(name=fileref)], MISSING),
        "FilerefService/ListFilerefs": ([r.ListFilerefsRequest(session=session)], MISSING),
        "FilerefService/DeassignFileref": ([r.DeassignFilerefRequest(name=fileref)], MISSING),
        "RowArtifactService/ListRowArtifacts": (
            [row_artifact_service_pb2.ListRowArtifactsRequest(name=job)],
            MISSING,
        ),
        "RowArtifactService/ReadRowArtifacts": (
            [row_artifact_service_pb2.ReadRowArtifactsRequest(name=job, rows=10)],
            MISSING,
        ),
        "DataService/ListColumns": ([a.ListColumnsRequest(name=table)], MISSING),
        "DataService/ReadRows": ([a.ReadRowsRequest(name=table)], MISSING),
        "TableService/SaveTable": ([table_save_pb2.SaveTableRequest(name=table, path="x.csv")], MISSING),
        "JobService/DeleteJob": ([j.DeleteJobRequest(name=job)], MISSING),
        "LogService/ListLogLines": ([log_service_pb2.ListLogLinesRequest(name=session)], MISSING),
        "LogService/TailLog": ([log_service_pb2.TailLogRequest(name=job)], MISSING),
        "ReportService/ReadListing": ([report_service_pb2.ReadListingRequest(name=session)], MISSING),
        "ReportService/ListResults": ([report_service_pb2.ListResultsRequest(name=session)], MISSING),
        "ReportService/GetReport": ([report_service_pb2.GetReportRequest(name=job)], MISSING),
        "VariableService/SetVariable": (
            [v.SetVariableRequest(session=session, variable_id="a", value=one)],
            MISSING,
        ),
        "VariableService/GetVariable": ([v.GetVariableRequest(name=f"{session}/variables/a")], MISSING),
        "VariableService/ListVariables": ([v.ListVariablesRequest(session=session)], MISSING),
        "VariableService/DeleteVariable": ([v.DeleteVariableRequest(name=f"{session}/variables/a")], MISSING),
        "OptionService/GetOption": ([o.GetOptionRequest(name=f"{session}/options/timeout")], MISSING),
        "OptionService/ListOptions": ([o.ListOptionsRequest(session=session)], MISSING),
        "OptionService/SetOptions": (
            [o.SetOptionsRequest(session=session, options={"timeout": "1"})],
            MISSING,
        ),
        "OptionService/ResetOption": ([o.ResetOptionRequest(name=f"{session}/options/timeout")], MISSING),
        "EngineService/ListEngines": ([engine_service_pb2.ListEnginesRequest()], ANYBODY),
        "LibraryService/CreateLibrary": ([b.CreateLibraryRequest(session=session, library_id="l")], MISSING),
        "LibraryService/GetLibrary": ([b.GetLibraryRequest(name=library)], MISSING),
        "LibraryService/ListLibraries": ([b.ListLibrariesRequest(session=session)], MISSING),
        "LibraryService/UpdateLibrary": (
            [b.UpdateLibraryRequest(library=data_pb2.Library(name=library))],
            MISSING,
        ),
        "LibraryService/DeleteLibrary": ([b.DeleteLibraryRequest(name=library)], MISSING),
        "TableActionService/DescribeTable": ([x.DescribeTableRequest(name=table)], MISSING),
        "TableActionService/PromoteTable": ([x.PromoteTableRequest(name=table)], MISSING),
        "TableActionService/CopyTable": ([x.CopyTableRequest(name=table, session=session)], MISSING),
        "TableActionService/UpdateTable": (
            [x.UpdateTableRequest(table=table_pb2.Table(name=table, label="mine"))],
            MISSING,
        ),
        "CacheService/GetCache": ([cache_service_pb2.GetCacheRequest()], ANYBODY),
        "ModelService/UpdateModel": (
            [m.UpdateModelRequest(model=model_pb2.Model(name=model, comment="bob's"))],
            DENIED,
        ),
        "ModelService/SetModelAlias": (
            [m.SetModelAliasRequest(name=f"{model}/aliases/bobs", version=1)],
            DENIED,
        ),
        "ModelService/DeleteModelAlias": ([m.DeleteModelAliasRequest(name=f"{model}/aliases/hers")], DENIED),
        "ModelService/ReadMlmodel": (
            [m.ReadMlmodelRequest(mlmodel="flavors: {xgboost: {data: m.ubj}}")],
            ANYBODY,
        ),
        "ContextService/TagContext": ([c.TagContextRequest(name="contexts/default")], DENIED),
        "DeploymentService/CreateDeployment": (
            [p.CreateDeploymentRequest(model=model, service_tag="hers", stage="PROD", replace=True)],
            ANYBODY,
        ),
        "DeploymentService/GetDeployment": ([p.GetDeploymentRequest(name=deployment)], MISSING),
        "DeploymentService/WaitDeployment": ([p.WaitDeploymentRequest(name=deployment)], MISSING),
        "DeploymentService/ListDeployments": ([p.ListDeploymentsRequest()], ANYBODY),
        "DeploymentService/RetireDeployment": ([p.RetireDeploymentRequest(name=deployment)], MISSING),
        "DeploymentService/CreateDeployedJob": (
            [p.CreateDeployedJobRequest(deployment=deployment, input="x.csv", output="y.csv")],
            MISSING,
        ),
        "TraceService/GetTrace": ([trace_service_pb2.GetTraceRequest(id=job)], MISSING),
        "CacheService/EvictTables": ([cache_service_pb2.EvictTablesRequest(names=[table])], MISSING),
        "ProcessService/Trigger": ([g.TriggerRequest(signal=SIGNAL.encode())], ANYBODY),
        "ProcessService/GetProcess": ([g.GetProcessRequest(name=process)], MISSING),
        "ProcessService/ListProcesses": ([g.ListProcessesRequest()], ANYBODY),
        "ProcessService/WaitProcess": ([g.WaitProcessRequest(name=process)], MISSING),
        "ProcessService/GetIncident": ([g.GetIncidentRequest(name=incident)], MISSING),
        "ProcessService/ListIncidents": ([g.ListIncidentsRequest(process=process)], MISSING),
        "ProcessService/RetryIncident": ([g.RetryIncidentRequest(name=incident)], MISSING),
        "ProcessService/ResolveIncident": ([g.ResolveIncidentRequest(name=incident, note="x")], MISSING),
        "ScheduleService/CreateSchedule": (
            [q.CreateScheduleRequest(schedule_id="bobs")],
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        "ScheduleService/GetSchedule": ([q.GetScheduleRequest(name=schedule)], MISSING),
        "ScheduleService/ListSchedules": ([q.ListSchedulesRequest()], ANYBODY),
        "ScheduleService/PauseSchedule": ([q.PauseScheduleRequest(name=schedule)], MISSING),
        "ScheduleService/ResumeSchedule": ([q.ResumeScheduleRequest(name=schedule)], MISSING),
        "ScheduleService/DeleteSchedule": ([q.DeleteScheduleRequest(name=schedule)], MISSING),
        "ScheduleService/RunSchedule": ([q.RunScheduleRequest(name=schedule)], MISSING),
    }


def methods(client: scorestream.Client) -> list[MethodDescriptor]:
    """Return every method that the server says it has, health checks left out."""
    with raw_channel(client) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        services = [name for name in database.get_services() if name != HEALTH]
        return [method for name in services for method in pool.FindServiceByName(name).methods]


def call(channel: grpc.Channel, method: MethodDescriptor, requests: list[Any]) -> grpc.StatusCode:
    """Make a call, and return how it ended; of a stream, the first message is enough."""
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    function = getattr(channel, kind)(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    try:
        answer = function(iter(requests) if method.client_streaming else requests[0], timeout=60)
        if method.server_streaming:
            next(iter(answer))
            answer.cancel()
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


def every_call(
    known: People, alices: Belongings
) -> Iterator[tuple[MethodDescriptor, list[Any], grpc.StatusCode]]:
    """Yield each method of ours with its case; one without a case fails here."""
    found = cases(alices)
    for method in methods(known.bob):
        if method.full_name.startswith("scorestream."):
            yield (method, *found.pop(f"{method.containing_service.name}/{method.name}"))
    assert not found


@pytest.mark.parametrize(
    "authorization",
    [
        [],
        ["Bearer "],
        ["Bearer scst_000000000000_" + "A" * 43],
        ["Basic cm9vdDpyb290"],
        ["Bearer x", "Bearer y"],
        ["Bearer"],
    ],
)
def test_every_method_asks_who_is_calling(
    known: People, alices: Belongings, authorization: list[str]
) -> None:
    """Without a token, or with one that nobody was given, there is one answer: UNAUTHENTICATED."""
    metadata = [("authorization", value) for value in authorization]
    reached = 0
    with grpc.insecure_channel(known.address) as plain:
        channel = with_metadata(plain, metadata)
        for method, requests, _ in every_call(known, alices):
            assert call(channel, method, requests) is grpc.StatusCode.UNAUTHENTICATED, method.full_name
            reached += 1
        with pytest.raises(grpc.RpcError) as caught:
            ProtoReflectionDescriptorDatabase(channel).get_services()
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert reached == len(cases(alices))


def test_bob_sees_nothing_of_alices(known: People, alices: Belongings) -> None:
    """What is hers is NOT_FOUND for him, whatever he calls; models he may read, and not change."""
    with raw_channel(known.bob) as channel:
        for method, requests, expected in every_call(known, alices):
            assert call(channel, method, requests) is expected, method.full_name
    assert alices.session.refresh().state == scorestream.SessionState.ACTIVE
    assert alices.job.refresh().state == scorestream.State.SUCCEEDED
    assert [file.path for file in alices.session.files.list()] == ["hers.txt"]
    assert [fileref.name for fileref in alices.session.filerefs.list()] == ["hers"]
    assert [table.name for table in alices.session.tables()] == ["customers"]
    assert [model.version for model in known.alice.models("model_of_alice")] == [1]


def test_bobs_lists_hold_only_what_is_his(known: People, alices: Belongings) -> None:
    """Neither sessions nor jobs, rows of status, nor events of others; even by a name that both use."""
    bobs = known.bob.create_session("of_alice")
    assert [session.id for session in known.bob.sessions("of_alice")] == [bobs.id]
    assert known.bob.jobs() == []
    hers = known.alice.get_service("model_of_alice").batch({"a": [1.0]}).start()
    assert known.alice.get_service("model_of_alice").list_batch_executions() == [hers.execution_id]
    assert known.bob.get_service("model_of_alice").list_batch_executions() == []
    with pytest.raises(scorestream.NotFoundError):
        known.bob.get_batch(str(hers.execution_id))
    assert {row.session_id for row in known.bob.status()} == {session.id for session in known.bob.sessions()}
    assert {event.session_id for event in known.bob.watch(until_final=True)} <= {
        session.id for session in known.bob.sessions(include_ended=True)
    }
    assert known.bob.get_session("of_alice").id == bobs.id
    assert known.alice.get_session("of_alice").id == alices.session.id


def test_a_request_id_of_alices_gives_bob_nothing_of_hers(known: People) -> None:
    """Request ids are one principal's own."""
    request = session_service_pb2.CreateSessionRequest(request_id="the-same")
    made = [
        client._connection.call(client._connection.sessions.CreateSession, request)
        for client in (known.alice, known.bob)
    ]
    assert made[0].name != made[1].name
    assert [session.owner for session in made] == ["alice", "bob"]


def test_an_admin_sees_and_ends_everything_but_reads_no_rows(known: People, alices: Belongings) -> None:
    """Operators help without reading customers."""
    admin, session = known.admin, known.alice.create_session("to_be_ended")
    assert session.id in {found.id for found in admin.sessions()}
    assert alices.job.id in {found.id for found in admin.jobs()}
    assert alices.job.id in {row.job_id for row in admin.status("of_alice")}
    assert alices.job.id in {event.job_id for event in admin.get_job(alices.job.id).watch()}
    assert admin.get_session(session.id).terminate(cancel=True).state == scorestream.SessionState.ENDED
    assert session.refresh().state == scorestream.SessionState.ENDED
    for read in (
        lambda: list(admin.get_job(alices.job.id).results()),
        lambda: admin.get_job(alices.job.id).artifacts(0),
        lambda: list(admin.get_job(alices.job.id).all_artifacts(0, 10)),
        lambda: admin.get_session(alices.session.id).tables(),
        lambda: admin.get_session(alices.session.id).table("customers"),
        admin.get_job(alices.job.id).listing,
        admin.get_job(alices.job.id).report,
    ):
        with pytest.raises(scorestream.PermissionDeniedError) as caught:
            read()
        assert caught.value.reason == "ROWS_OF_ANOTHER"


def test_an_admin_sees_variables_and_options_and_changes_none(known: People, alices: Belongings) -> None:
    """They are part of what a job is asked to do, as its filter is; what they are is their owner's affair."""
    alices.session.variables["cutoff"] = 0.5
    seen = known.admin.get_session(alices.session.id)
    assert dict(seen.variables) == {"cutoff": 0.5}
    assert seen.options["timeout"] == 0.0
    for change in (
        lambda: seen.variables.set("cutoff", 1.0),
        lambda: seen.variables.delete("cutoff"),
        lambda: seen.options.set("timeout", 1),
        lambda: seen.options.reset("timeout"),
    ):
        with pytest.raises(scorestream.PermissionDeniedError) as caught:
            change()
        assert caught.value.reason == "SESSION_OF_ANOTHER"
    del alices.session.variables["cutoff"]


def test_models_are_for_all_and_changed_by_their_owner(known: People) -> None:
    """Who may add a version decides what everybody's next job is scored with."""
    model = known.alice.register_model("shared", source="a AS b")
    session = known.bob.create_session("reader")
    job = session.score("shared", pa.table({"a": [3.0]}), keep=["a"])
    assert [batch.to_pylist() for batch in job.results()] == [[{"a": 3.0, "b": 3.0}]]
    assert known.bob.register_model("shared", source="a AS b").id == model.id
    with pytest.raises(scorestream.PermissionDeniedError, match="somebody else's"):
        known.bob.register_model("shared", source="a * 0 AS b")
    with pytest.raises(scorestream.PermissionDeniedError, match="not yours"):
        known.bob.get_model("shared").remove()
    assert known.alice.register_model("shared", source="a * 2 AS b").version == 2
    known.admin.get_model("shared@2").remove()
    known.alice.get_model("shared@1").remove()
    assert known.bob.register_model("shared", source="a * 3 AS b").info.owner == "bob"


def test_deployments_are_their_owners_and_seen_by_admins(known: People, alices: Belongings) -> None:
    """Bob's lists have none of hers; an admin sees, traces and retires it, and makes no job of it."""
    assert alices.deployment.id not in {one.id for one in known.bob.deployments.list()}
    seen = known.admin.deployments.get(alices.deployment.id)
    assert (seen.info.owner, seen.state) == ("alice", "FAILED")
    assert known.admin.trace(alices.job.id) == known.alice.trace(alices.job.id)
    with pytest.raises(scorestream.PermissionDeniedError) as caught:
        seen.run("x.csv", "y.csv")
    assert caught.value.reason == "DEPLOYMENT_OF_ANOTHER"
    assert seen.retire().state == "RETIRED"


def test_a_model_in_use_does_not_tell_whose_job_it_is(known: People) -> None:
    """Its owner learns that somebody needs it, and not who and for what."""
    known.alice.register_model("needed", source="a AS b")
    session = known.bob.create_session("user_of_it")
    rows = pa.table({"a": [float(number) for number in range(200_000)]})
    with known.admin.create_session("keeps_the_worker_busy") as busy:
        known.admin.register_model("slow", source=" + ".join(["EXP(LN(ABS(a) + 1))"] * 40) + " AS b")
        first = busy.score("slow", rows, partition_rows=1000, priority="high")
        job = session.score("needed", rows, name="secret_campaign", partition_rows=1000, priority="low")
        with pytest.raises(scorestream.FailedPreconditionError) as caught:
            known.alice.get_model("needed").remove()
        first.cancel()
        job.cancel()
    assert "secret_campaign" not in str(caught.value)
    assert job.id not in str(caught.value) + str(caught.value.metadata)
    session.terminate(cancel=True)


def test_only_health_is_open(known: People) -> None:
    """A load balancer needs no token, and learns whether the server serves."""
    with grpc.insecure_channel(known.address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_contexts_are_for_all_and_changed_by_admins(known: People) -> None:
    """Users read them and make sessions from them; only who may see all sessions is told whose keep one in use."""
    made = known.admin.contexts.create("shared_by_all", session_inactive_timeout=77)
    assert known.bob.contexts.get("shared_by_all") == made
    assert known.bob.create_session("bobs", context="shared_by_all").info.inactive_timeout == 77
    for change in (
        lambda: known.bob.contexts.delete("shared_by_all"),
        lambda: known.bob.contexts.update("shared_by_all", description="mine"),
        lambda: known.bob.contexts.create("bobs"),
    ):
        with pytest.raises(scorestream.PermissionDeniedError, match="is for admins") as denied:
            change()
        assert denied.value.reason == "ADMINS_ONLY"
    with pytest.raises(
        scorestream.FailedPreconditionError, match=r"1 open session was made from it \('bobs'\)"
    ):
        known.admin.contexts.delete("shared_by_all")
    lines = [json.loads(line) for line in (known.data_dir / "audit.log").read_text().splitlines()]
    told = [(line["principal"], line["method"].rpartition("/")[2], line["resource"]) for line in lines]
    assert told[-5:] == [
        ("bob", "CreateSession", told[-5][2]),
        ("bob", "DeleteContext", "contexts/shared_by_all"),
        ("bob", "UpdateContext", "contexts/shared_by_all"),
        ("bob", "CreateContext", "contexts/bobs"),
        ("root", "DeleteContext", "contexts/shared_by_all"),
    ]


def test_what_runs_by_itself_runs_for_those_alone_who_may_still_call(known: People) -> None:
    """A revoked token ends what its owner's schedules do, with an incident that says so; a new one lets it go on."""
    made = known.admin.create_token("carol")
    with scorestream.connect(known.address, token=made.secret) as carol:
        carol.schedules.create("of_carol", "0 2 * * *", SIGNAL)
    known.admin.revoke_token(made.id)
    process = known.admin.schedules.run("of_carol")
    with pytest.raises(scorestream.FailedPreconditionError, match="scorestream token create carol") as caught:
        process.wait(60)
    (incident,) = process.incidents()
    assert (process.info.owner, caught.value.reason, incident.type) == ("carol", "OWNER_GONE", "IDENTITY")
    known.admin.create_token("carol")
    assert known.admin.processes.retry(incident.id).reason == "NO_DEPLOYMENT"
