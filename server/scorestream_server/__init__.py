"""The scoring server. Start it with `scorestream serve` or `python -m scorestream_server`."""
