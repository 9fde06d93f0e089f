"""Who is calling."""

from typing import Any

import grpc

LOCAL_USER = "local"


def owner_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Return the owner that the caller acts as; without authentication everybody is the same one."""
    del context
    return LOCAL_USER
