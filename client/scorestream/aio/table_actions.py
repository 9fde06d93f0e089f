"""What can be done with a table beyond reading and dropping it."""

import uuid
from typing import Protocol, Self

from google.protobuf.field_mask_pb2 import FieldMask

from scorestream.library_records import TableDescription
from scorestream.library_wire import description, lifetime_of
from scorestream.records import TableInfo
from scorestream.v1 import table_action_service_pb2, table_pb2
from scorestream.wire import session_name, table_info, table_name

from .connection import AsyncConnection


class _Session(Protocol):
    @property
    def id(self) -> str: ...


class AsyncTableActions:
    """A table, as far as it is described, promoted, copied and updated.

    Attributes:
        info: its description as the server gave it.
    """

    def __init__(self, connection: AsyncConnection, info: TableInfo) -> None:
        self._connection = connection
        self.info = info

    async def describe(self) -> TableDescription:
        """Return all that the server knows of it now: where its bytes are and who said so, who shares them, who reads it."""
        request = table_action_service_pb2.DescribeTableRequest(name=self._resource)
        return description(await self._connection.call(self._connection.table_actions.DescribeTable, request))

    async def promote(self, *, replace: bool = False) -> Self:
        """Make it a global table of its name, which all may read and which stays when the session ends; return it.

        It is the session's no longer, and is found by its name as before.

        Args:
            replace: whether a global table of that name is replaced, at once; who reads that one goes on with it.

        Raises:
            AlreadyExistsError: there is one of that name, and `replace` is false.
            PermissionDeniedError: that one is somebody else's.
        """
        request = table_action_service_pb2.PromoteTableRequest(name=self._resource, replace=replace)
        method = self._connection.table_actions.PromoteTable
        return self._with(await self._connection.call(method, request, repeat=False))

    async def copy(
        self, name: str = "", *, session: _Session | str | None = None, replace: bool = False
    ) -> Self:
        """Give it another name, or one in another session of yours, and return that; its bytes are shared.

        Args:
            name: the copy's; empty: its own.
            session: that gets the copy, given as such or by id; None: its own. A global table needs one.
            replace: whether a table of that name is replaced.

        Raises:
            AlreadyExistsError: there is one of that name, and `replace` is false.
        """
        target = self.info.session_id if session is None else session
        request = table_action_service_pb2.CopyTableRequest(
            name=self._resource,
            session=session_name(target if isinstance(target, str) else target.id),
            table_id=name,
            replace=replace,
            request_id=uuid.uuid4().hex,
        )
        return self._with(await self._connection.call(self._connection.table_actions.CopyTable, request))

    async def update(
        self, *, label: str | None = None, lifetime: float | None = None, etag: str = ""
    ) -> Self:
        """Change its label and lifetime, and return it; what is None stays as it is.

        Args:
            label: for people; empty: none.
            lifetime: seconds after its last access after which it is dropped; 0: it stays.
            etag: change it only where this is still its etag; empty: whatever it says by now.

        Raises:
            FailedPreconditionError: it was changed meanwhile.
        """
        told = table_pb2.Table(
            name=self._resource, label=label or "", lifetime=lifetime_of(lifetime), etag=etag
        )
        given = {"label": label, "lifetime": lifetime}
        mask = FieldMask(paths=[name for name, value in given.items() if value is not None])
        if not mask.paths:
            return self
        request = table_action_service_pb2.UpdateTableRequest(table=told, update_mask=mask)
        method = self._connection.table_actions.UpdateTable
        self.info = table_info(await self._connection.call(method, request, repeat=not etag))
        return self

    @property
    def _resource(self) -> str:
        return table_name(self.info.session_id, self.info.name)

    def _with(self, message: table_pb2.Table) -> Self:
        return type(self)(self._connection, table_info(message))
