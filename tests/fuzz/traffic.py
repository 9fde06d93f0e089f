"""Calls of every RPC that the descriptors know, and what a server may answer."""

import importlib
import itertools
import pkgutil
import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

import scorestream.v1
from fuzz.figures import Figures, chance
from fuzz.messages import Maker, Pool

DEADLINE = 30.0
"""Seconds within which every call must have its answer."""
GLANCE = 0.1
"""Seconds for which a stream without an end is looked at."""
ENDLESS = {"WatchSessions", "WatchDevices", "WaitJob"}
MESSAGES_READ = 5
MOST_BROKEN = 10
NEVER = {"INTERNAL", "UNKNOWN", "UNIMPLEMENTED", "UNAVAILABLE", "DATA_LOSS", "DEADLINE_EXCEEDED"}
DETAILS_KEY = "grpc-status-details-bin"


class BrokenPromiseError(AssertionError):
    """A server answered as it never should."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call: the status code's name, the reason with it, and the messages that were read."""

    code: str
    reason: str
    message: str
    answers: tuple[Message, ...]


def methods() -> Iterator[MethodDescriptor]:
    """Yield every method of every service of this API."""
    for module in pkgutil.iter_modules(scorestream.v1.__path__):
        if module.name.endswith("_service_pb2"):
            file = importlib.import_module(f"scorestream.v1.{module.name}").DESCRIPTOR
            for service in file.services_by_name.values():
                yield from service.methods


def call(channel: grpc.Channel, method: MethodDescriptor, requests: Sequence[bytes]) -> Outcome:
    """Call a method with messages as they are on the wire.

    Raises:
        BrokenPromiseError: the answer is one that no client should ever get, came too late, or does not explain itself.
    """
    kind = "_".join(
        "stream" if many else "unary" for many in (method.client_streaming, method.server_streaming)
    )
    stub = getattr(channel, kind)(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=None,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    request = iter(requests) if method.client_streaming else requests[0]
    answers: list[Message] = []
    timeout = GLANCE if method.name in ENDLESS else DEADLINE
    try:
        if method.server_streaming:
            ongoing = stub(request, timeout=timeout)
            answers += itertools.islice(ongoing, MESSAGES_READ)
            ongoing.cancel()
        else:
            answers.append(stub(request, timeout=timeout))
    except grpc.RpcError as error:
        return _judged(method, error, answers)
    return Outcome("OK", "", "", tuple(answers))


def _judged(method: MethodDescriptor, error: Any, answers: list[Message]) -> Outcome:
    code = error.code().name
    if code == "DEADLINE_EXCEEDED" and method.name in ENDLESS:
        return Outcome("OK", "", "", tuple(answers))
    told = f"{method.full_name}: {code}, {error.details()}"
    status, info = status_pb2.Status(), error_details_pb2.ErrorInfo()
    status.ParseFromString(dict(error.trailing_metadata()).get(DETAILS_KEY, b""))
    if code in NEVER:
        raise BrokenPromiseError(told)
    if not (status.details and status.details[0].Unpack(info) and info.reason and status.message):
        raise BrokenPromiseError(f"no details: {told}")
    return Outcome(code, info.reason, status.message, tuple(answers))


class Traffic:
    """Calls at random, several at a time.

    Args:
        channel: to the server.
        pool: what requests may name; learns from answers.
        figures: what is counted.
    """

    def __init__(self, channel: grpc.Channel, pool: Pool, figures: Figures) -> None:
        self._channel = channel
        self._pool = pool
        self._figures = figures
        self._methods = list(methods())
        self._cases = figures.plan.each()
        self._lock = threading.Lock()
        self.broken: dict[str, str] = {}

    def send_all(self) -> None:
        """Send the plan's cases, from several threads at once; a few broken promises end it early."""
        while len(self.broken) < MOST_BROKEN:
            with self._lock:
                case = next(self._cases, None)
            if case is None:
                return
            self._send(*case)

    def _send(self, number: int, source: random.Random) -> None:
        method = self._methods[number % len(self._methods)]
        maker = Maker(source, self._pool)
        made: list[Any] = (
            maker.stream(method.input_type) if method.client_streaming else [maker.message(method.input_type)]
        )
        wire = [maker.wire(message) for message in made]
        began = time.monotonic()
        try:
            outcome = call(self._channel, method, wire)
        except BrokenPromiseError as broken:
            # One of each is enough to read.
            told = f"case {number}: {broken}\n{_shown(made)}\nas sent: {_shown(wire)}"
            self.broken.setdefault(str(broken)[:80], told)
            return
        with self._lock:
            self._figures.add(outcome.code, time.monotonic() - began)
        for answer in outcome.answers:
            if chance(source, 0.3):
                self._pool.learn(answer, source)


def _shown(what: Sequence[Any]) -> str:
    return "\n".join(f"{one!r}"[:1500] for one in what)
