"""Which devices a server's workers get: pure decisions over what was found on the machine."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from scorestream_server.domain.device import CPU

OLDEST_CUDA = 12
NEWEST_CUDA = 13
"""The newest CUDA that an extra of ours is made for; a newer driver runs what was built for an older one."""
_ORDINAL = re.compile(r"[0-9]{1,4}")


class NoSuchDevice(ValueError):  # noqa: N818  # what was asked for is not there
    """A device that was asked for by name cannot be had; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Cards:
    """The NVIDIA cards that this server may use.

    Attributes:
        uuids: of each card, in CUDA's order: the first one is ``cuda:0``.
        why_none: why there are none, as the rest of a sentence; empty where there are some.
        cuda_version: the CUDA that the driver supports, its major number; 0 where there is no driver.
    """

    uuids: tuple[str, ...] = ()
    why_none: str = ""
    cuda_version: int = 0


def visible(setting: str | None, cards: Sequence[str], instances: Sequence[str] = ()) -> list[str]:
    """Return the UUIDs of the cards that ``CUDA_VISIBLE_DEVICES`` lets a program see, in its order.

    Indices count `cards`. As for CUDA itself, the first entry that names nothing ends the list, a card that
    is named twice empties it, and of the instances of cards in MIG mode a process sees one alone.

    Args:
        setting: the variable's value; None where it is not set.
        cards: UUIDs of all cards, ``GPU-…``, in the order of ``nvidia-smi``.
        instances: UUIDs of all MIG instances, ``MIG-…``.
    """
    if setting is None:
        return list(cards)
    found: list[str] = []
    for entry in (part.strip() for part in setting.split(",")):
        if _ORDINAL.fullmatch(entry):
            matches = list(cards[int(entry) : int(entry) + 1])
        elif entry.startswith(("GPU-", "MIG-")):
            matches = [uuid for uuid in (*cards, *instances) if uuid.startswith(entry)]
        else:
            matches = []
        if len(matches) != 1:
            break
        if matches[0] in found:
            return []
        found += matches
    first_instance = next((place for place, uuid in enumerate(found) if uuid in instances), len(found))
    return found[: first_instance + 1]


def choose_devices(requested: str, cards: Cards, *, cupy: bool) -> tuple[str, ...]:
    """Return the name of the device of each worker: ``cpu`` alone, or one name a card.

    Args:
        requested: ``auto`` (the cards that can be used, the CPU where there is none), ``cpu``, ``cuda`` (all
            cards) or ``cuda:N``.
        cards: what there is.
        cupy: whether CuPy is installed.

    Raises:
        NoSuchDevice: `requested` is no device, or one that cannot be had.
    """
    if requested == CPU:
        return (CPU,)
    names = tuple(f"cuda:{number}" for number in range(len(cards.uuids)))
    if requested == "auto":
        return names if names and cupy else (CPU,)
    kind, colon, number = requested.partition(":")
    if kind != "cuda" or (colon and not _ORDINAL.fullmatch(number)):
        raise NoSuchDevice(f"--device {requested} is no device; write auto, cpu, cuda or cuda:N.")
    if not names:
        raise NoSuchDevice(
            f"--device {requested} cannot be used: {cards.why_none}. --device cpu needs no card."
        )
    if not cupy:
        raise NoSuchDevice(f"--device {requested} cannot be used: {_how_to_get_cupy(cards.cuda_version)}.")
    if not colon:
        return names
    if int(number) >= len(names):
        raise NoSuchDevice(
            f"--device {requested} is not there: this server may use {', '.join(names)}. "
            "CUDA_VISIBLE_DEVICES, where it is set, says which cards those are."
        )
    return (f"cuda:{int(number)}",)


def passed_over(requested: str, cards: Cards, *, cupy: bool) -> str:
    """Return the sentence to log where ``auto`` leaves cards unused for want of CuPy, else nothing."""
    if requested != "auto" or not cards.uuids or cupy:
        return ""
    return f"scoring on the CPU, although there is an NVIDIA card: {_how_to_get_cupy(cards.cuda_version)}"


def _how_to_get_cupy(cuda_version: int) -> str:
    if cuda_version < OLDEST_CUDA:
        return (
            f"the NVIDIA driver supports CUDA {cuda_version}, and {OLDEST_CUDA} or later is needed; "
            "install a newer driver"
        )
    extra = f"cuda{min(cuda_version, NEWEST_CUDA)}"
    return f"CuPy is not installed; install it with: pip install 'scorestream[{extra}]'"
