"""Where wire types and the domain's meet for files, filerefs and the data of a session."""

import re

import pyarrow as pa

from scorestream.v1 import data_pb2, file_pb2, fileref_pb2
from scorestream_server.api import convert
from scorestream_server.domain.errors import FieldFault, invalid
from scorestream_server.domain.fileref import Fileref
from scorestream_server.domain.home import FILEREF_SCHEME, HomeFile
from scorestream_server.tables.columns import unreadable_columns

_FILEREF = re.compile(r"[a-z_][a-z0-9_]{0,31}")


def check_fileref_id(field: str, name: str) -> str:
    """Return a fileref's own name in lower case, if it is allowed."""
    found = name.removeprefix(FILEREF_SCHEME).lower()
    if not _FILEREF.fullmatch(found):
        shown = name if len(name) <= 80 else name[:77] + "..."
        told = f"{shown!r} is no name of a fileref; wanted: a letter or _, then up to 31 letters, digits or _"
        raise invalid("INVALID_NAME", f"{field}: {told}.", [FieldFault(field, told)])
    return found


def file(name: str, value: HomeFile) -> file_pb2.File:
    """Return a file under a resource name for the wire."""
    return file_pb2.File(
        name=name,
        path=value.path,
        type=file_pb2.FILE_TYPE_DIRECTORY if value.directory else file_pb2.FILE_TYPE_FILE,
        size_bytes=value.size,
        modify_time=convert.timestamp(value.modify_time),
        etag=value.etag,
    )


def home_file(session_id: str, value: HomeFile) -> file_pb2.File:
    """Return a file in a session's home for the wire."""
    return file(f"{convert.session_name(session_id)}/files/{value.path}", value)


def fileref(value: Fileref, *, exists: bool) -> fileref_pb2.Fileref:
    """Return a fileref for the wire."""
    return fileref_pb2.Fileref(
        name=f"{convert.session_name(value.session_id)}/filerefs/{value.fileref_id}",
        fileref_id=value.fileref_id,
        path=value.path,
        exists=exists,
        create_time=convert.timestamp(value.create_time),
    )


def columns(schema: pa.Schema) -> list[data_pb2.Column]:
    """Return a table's columns for the wire."""
    hidden = unreadable_columns(schema)
    return [
        data_pb2.Column(
            name=field.name,
            type=str(field.type),
            nullable=field.nullable,
            index=index,
            readable=field.name not in hidden,
        )
        for index, field in enumerate(schema)
    ]
