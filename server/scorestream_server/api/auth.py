"""Who is calling."""

from typing import Any, TypeAlias

import grpc

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
"""What a handler gets to know of its call."""

LOCAL_USER = "local"


def owner_of(context: Context) -> str:
    """Return the owner that the caller acts as; without authentication everybody is the same one."""
    del context
    return LOCAL_USER
