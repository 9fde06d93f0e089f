"""For programs that were written for Microsoft's Machine Learning Server: change their import line, and they run.

    from scorestream.mlserver import DeployClient, MLServer

    client = DeployClient("http://localhost:8500", use=MLServer, auth=("admin", TOKEN))
    service = client.get_service("LinModService", version="1.0")
    batch = service.batch(records, parallelCount=10).start()

What these objects have beyond those of `scorestream` are the other spellings of arguments. Publishing is not among it:
a service there is a pickled function, and here a model that was registered (`Client.register_model`).
"""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from scorestream.access import access_to
from scorestream.batch import Batch
from scorestream.batch_records import Execution
from scorestream.batch_result import BatchResult
from scorestream.client import DEFAULT_PATIENCE, Client
from scorestream.connection import Connection
from scorestream.context_records import ContextSettings
from scorestream.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from scorestream.model_records import ModelInfo
from scorestream.services import Service
from scorestream.wire import checked_address


class MLServerBatch(Batch):
    """A batch that also takes ``showPartialResults``, ``fileName`` and ``dest``."""

    def results(self, show_partial_results: bool = True, **renamed: Any) -> BatchResult:
        """Return results as `Batch.results`; ``showPartialResults`` is the argument's other name."""
        given = _renamed(renamed, showPartialResults="show_partial_results")
        return super().results(**{"show_partial_results": show_partial_results, **given})

    def artifact(self, index: int, file_name: str = "", **renamed: Any) -> bytes:
        """Return a file as `Batch.artifact`; ``fileName`` is the argument's other name."""
        return super().artifact(index, **{"file_name": file_name, **_renamed(renamed, fileName="file_name")})

    def download(
        self,
        index: int,
        file_name: str | None = None,
        destination: str | Path = ".",
        *,
        replace: bool = True,
        **renamed: Any,
    ) -> list[Path]:
        """Write files as `Batch.download`, over those that are there, as it was; also ``fileName`` and ``dest``."""
        given = _renamed(renamed, fileName="file_name", dest="destination")
        return super().download(
            index, **{"file_name": file_name, "destination": destination, "replace": replace, **given}
        )


class MLServerService(Service):
    """A service that also takes ``parallelCount``, and is called by its name: ``service.LinModService(110, 2.6)``."""

    _batch_type = MLServerBatch

    def batch(self, records: Any, parallel_count: int = 10, **options: Any) -> MLServerBatch:
        """Return a batch as `Service.batch`; ``parallelCount`` is the argument's other name."""
        retention = {name: options.pop(name) for name in ("retention",) if name in options}
        given = _renamed(options, parallelCount="parallel_count")
        made = super().batch(records, **{"parallel_count": parallel_count, **given, **retention})
        return cast("MLServerBatch", made)

    def get_batch(self, execution_id: str) -> MLServerBatch:
        """Return a batch as `Service.get_batch`."""
        return cast("MLServerBatch", super().get_batch(execution_id))

    def capabilities(self) -> dict[str, Any]:
        """Return what is known of the service, by name."""
        info = self.info
        return {
            "name": self.name,
            "version": self.version,
            "published_by": info.owner,
            "runtime": info.kind,
            "description": info.description,
            "creation_time": info.created,
            "snapshot_id": info.digest,
            "inputs": [{"name": feature.name} for feature in info.features],
            "outputs": [{"name": output.name, "type": output.type} for output in info.outputs],
            "artifacts": list(info.artifacts),
            "operation_id": self._alias(),
        }

    def __getattr__(self, name: str) -> "Callable[..., Execution]":
        if not name.startswith("_") and name == self._alias():
            return self.consume
        raise AttributeError(
            f"{self!r} has no {name!r}; it is called as {self._alias()}(...) or consume(...)."
        )

    def _alias(self) -> str:
        """Return by which name of its own it is called."""
        return self.name


class MLServer(Client):
    """A client of a server, reached by what programs for ML Server have: a URL, and a user with a password.

    Args:
        host: ``http://HOST:PORT`` or ``HOST:PORT``; with ``https://`` the variable ``SCORESTREAM_TLS_CA`` names the file
            (PEM) with the CA of the server's certificate.
        auth: a token, or a user and a password, where the password is a token: there are no others here. None: what
            ``SCORESTREAM_TOKEN`` holds.

    Raises:
        InvalidArgumentError: `host` is no address, or `auth` is another way to log in.
    """

    def __init__(self, host: str, auth: str | tuple[str, str] | None = None) -> None:
        scheme, _, rest = host.rpartition("://")
        address = checked_address(rest.rstrip("/"))
        access = access_to(address, _token(auth), None, None, None)
        if scheme == "https" and access.tls_ca is None:
            raise InvalidArgumentError(
                f"{host} is reached by TLS; set SCORESTREAM_TLS_CA to the file with the CA of its certificate.",
                reason="TLS_NEEDS_CA",
            )
        super().__init__(Connection(address, access, patience=DEFAULT_PATIENCE))

    def get_service(
        self, name: str, version: int | str | None = None, *, context: str = ""
    ) -> MLServerService:
        """Return a service as `Client.get_service`; one with a pool of its own scores in that."""
        found = super().get_service(name, version, context=context)
        if not context:
            with contextlib.suppress(NotFoundError):
                context = self.contexts.get(_pool(found.info)).name
        return MLServerService(self._connection, found.info, context)

    def list_services(self, prefix: str = "") -> list[Service]:
        """Return services as `Client.list_services`."""
        return [
            MLServerService(self._connection, found.info, found.context)
            for found in super().list_services(prefix)
        ]

    def create_or_update_service_pool(
        self, name: str, version: int | str, initial_pool_size: int, maximum_pool_size: int
    ) -> None:
        """Give a service workers of its own, in a context named after it. For admins.

        Args:
            name: the service's.
            version: the service's.
            initial_pool_size: workers that are kept ready.
            maximum_pool_size: workers at most.
        """
        pool = _pool(super().get_service(name, version).info)
        sizes = ContextSettings(
            reuse_server_processes=True,
            server_min_available=initial_pool_size,
            server_max_available=maximum_pool_size,
        )
        try:
            self.contexts.create(pool, **sizes)
        except AlreadyExistsError:
            self.contexts.update(pool, **sizes)

    def delete_service_pool(self, name: str, version: int | str) -> None:
        """Let a service score in the server's own workers again. For admins."""
        self.contexts.delete(_pool(super().get_service(name, version).info))


class DeployClient(MLServer):
    """What programs for ML Server begin with: ``DeployClient(host, use=MLServer, auth=(user, password))``.

    Args:
        host: as of `MLServer`.
        auth: as of `MLServer`.
        use: `MLServer`, or its name; there is no other.
    """

    def __init__(self, host: str, auth: str | tuple[str, str] | None = None, use: object = MLServer) -> None:
        if use is not MLServer and not (isinstance(use, str) and use.rpartition(".")[2] == "MLServer"):
            raise InvalidArgumentError(
                f"use={use!r} is not known here; write use=MLServer.", reason="UNKNOWN_DEPLOYMENT"
            )
        super().__init__(host, auth)


def _token(auth: object) -> str | None:
    """Return the token in what a program logs in with."""
    match auth:
        case None | str():
            return auth
        case (str(), str() as password):
            return password
    raise InvalidArgumentError(
        "auth is a token, or (user, token); log in elsewhere, and have an admin make a token: scorestream token create.",
        reason="UNKNOWN_LOGIN",
    )


def _pool(info: ModelInfo) -> str:
    """Return the name of the context that a service's pool is."""
    return f"{info.name[:50]}-{info.version}"


def _renamed(given: Mapping[str, Any], **names: str) -> dict[str, Any]:
    """Return arguments by their names here; one that has no other name raises as Python does."""
    unknown = [name for name in given if name not in names]
    if unknown:
        raise TypeError(f"unexpected keyword argument {unknown[0]!r}; known: {', '.join(names)}")
    return {names[name]: value for name, value in given.items()}
