"""A compiler that leaves the compiling to the module: its machine code is the source."""

from typing import Any

MAGIC = b"// machine code of no machine\n"
_programs: dict[int, str] = {}


class NVRTCError(RuntimeError):
    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"NVRTC error {status}")


def getVersion() -> tuple[int, int]:
    return (0, 0)


def createProgram(src: str, name: str, headers: Any, include_names: Any) -> int:
    _programs[len(_programs) + 1] = src
    return len(_programs)


def compileProgram(prog: int, options: Any) -> None:
    if not all(isinstance(option, str) for option in options):
        raise NVRTCError(5)


def getCUBIN(prog: int) -> bytes:
    return MAGIC + _programs[prog].encode()


def getProgramLog(prog: int) -> str:
    return ""


def destroyProgram(prog: int) -> None:
    _programs[prog] = ""
