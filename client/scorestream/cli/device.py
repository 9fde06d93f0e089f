"""`scorestream device ...`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scorestream.cli.shell import (
    DEFAULT_SERVER,
    WATCH_PATIENCE,
    Output,
    OutputOption,
    ServerOption,
    console,
    open_client,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from rich.console import Group

    from scorestream.fitting import Column
    from scorestream.records import Device

app = typer.Typer(no_args_is_help=True, help="Devices: the GPUs and the CPU of the server's machine.")


@app.command("list")
def list_devices(output: OutputOption = Output.TEXT, server: ServerOption = DEFAULT_SERVER) -> None:
    """List the GPUs that the server may use, and its CPU, with how busy they are.

    Example: scorestream device list
    """
    with open_client(server) as client:
        found = client.devices()
    if output is Output.JSON:
        return print_json(found)
    return print_table(_columns(), [_cells(device) for device in found], "The server knows of no device.")


@app.command("watch")
def watch_devices(
    interval: Annotated[float, typer.Option(help="Seconds between two readings, 0.25 to 3600.")] = 1.0,
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Show the devices again and again, until Ctrl-C; with -o json all of them on one line each time.

    Example: scorestream device watch --interval 5
    """
    with open_client(server, patience=WATCH_PATIENCE) as client:
        readings = client.watch_devices(interval)
        where = console()
        if output is Output.JSON:
            for devices in readings:
                print_json(devices, indent=None)
        elif not where.is_terminal:
            for devices in readings:
                for device in devices:
                    print(_line(device), flush=True)  # noqa: T201 - the command's answer
        else:
            from rich.live import Live  # noqa: PLC0415 - keeps --help quick

            with Live(console=where, auto_refresh=False) as live:
                for devices in readings:
                    live.update(_table(devices, where.width), refresh=True)


def _table(devices: "Sequence[Device]", width: int) -> "Group":
    """Return a table that fits a terminal; messages that find no room in it stand below."""
    from rich.console import Group  # noqa: PLC0415 - keeps --help quick
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    from scorestream.fitting import fitted, table_of  # noqa: PLC0415 - keeps --help quick

    columns = _columns()
    rows = [[Text(cell) for cell in _cells(device)] for device in devices]
    places = fitted(columns, rows, width)
    below = (
        []
        if len(columns) - 1 in places
        else [f"{found.id}: {found.message}" for found in devices if found.message]
    )
    return Group(table_of(columns, rows, places), *map(Text, below))


def _columns() -> "list[Column]":
    """Return the columns of the table of devices, in the order of `_cells`."""
    from scorestream.fitting import Column  # noqa: PLC0415 - keeps --help quick

    return [
        Column("device", 0),
        Column("name", 5),
        Column("memory used", 2, right=True, least=9),
        Column("of", 3, right=True, least=9),
        Column("busy", 1, right=True, least=5),
        Column("lanes busy", 4, right=True, least=8),
        Column("temperature", 7, right=True),
        Column("power", 6, right=True, least=6),
        Column("processes", 8, right=True),
        Column("message", 9, wraps=True),
    ]


def _cells(device: "Device") -> list[str]:
    """Return a device's cells; what it does not report is ``-``."""
    from scorestream.progress import bytes_text  # noqa: PLC0415 - keeps --help quick

    def told(value: Any, text: str) -> str:
        return "-" if value is None else text.format(value)

    used, total = (
        "-" if size is None else bytes_text(size) for size in (device.memory_used, device.memory_total)
    )
    return [
        device.id,
        device.name,
        used,
        total,
        told(device.utilization, "{:.0f} %"),
        f"{device.lanes_busy} of {device.lanes}" if device.lanes else "-",
        told(device.temperature, "{:.0f} °C"),
        told(device.power, "{:.0f} W"),
        str(len(device.processes)),
        device.message,
    ]


def _line(device: "Device") -> str:
    """Return a device as one plain line."""
    _, name, used, total, busy, lanes, temperature, power, processes, message = _cells(device)
    return "  ".join(
        part
        for part in (
            f"{device.time.astimezone():%H:%M:%S}",
            device.id,
            name,
            f"memory {used} of {total}",
            f"busy {busy}",
            f"lanes {lanes}",
            *(fact for fact in (temperature, power) if fact != "-"),
            f"processes {processes}",
            message,
        )
        if part
    )
