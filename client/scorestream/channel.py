"""How every channel is set up, blocking or not."""

from scorestream.access import is_loopback

MAX_RECEIVE_BYTES = 64 << 20
KEEPALIVE_MS = 6 * 60 * 1000


def channel_options(address: str) -> list[tuple[str, int]]:
    """Return gRPC's settings for a channel to `address`."""
    options = [
        # A page of 1000 jobs or the head of a wide table may pass the default of 4 MiB.
        ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
        # A subscription to a host that vanished ends; servers refuse pings more often than every 5 minutes.
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", 20_000),
        # After a server's restart, be back soon; the default waits up to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]
    if is_loopback(address):
        # This machine is never reached through a proxy, whatever the environment says.
        options.append(("grpc.enable_http_proxy", 0))
    return options
