"""What is done at a start and every hour from then on, as long as the server runs."""

import asyncio
import functools
import logging
import time
from collections.abc import Callable

import sqlalchemy as sa

from scorestream_server.domain.disk import StorageError
from scorestream_server.store import requests, saves
from scorestream_server.store.database import Database

logger = logging.getLogger(__name__)

EVERY_SECONDS = 3600.0


async def keep_house(database: Database, clock: Callable[[], float] = time.time) -> None:
    """Forget what was kept for long enough, again and again; a failure is logged, and tried again.

    Args:
        database: the store.
        clock: seconds since 1970, UTC.
    """
    while True:
        now = clock()
        try:
            await database.write(functools.partial(requests.forget_old, now=now))
            await database.write(functools.partial(saves.forget_old, now=now))
        except (sa.exc.SQLAlchemyError, StorageError):
            logger.exception("old request ids and saves could not be forgotten")
        await asyncio.sleep(EVERY_SECONDS)
