"""The asyncio client: same names as the blocking one, `await`ed."""
