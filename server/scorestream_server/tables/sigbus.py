"""Reading a mapped file that was cut short behind our back: zeros and a flag, where the system would end the process.

Whoever touches a page of a map whose file does not reach there any more, or whose disk fails, gets SIGBUS. The handler
here puts zero pages over what cannot be read and notes that in the map's slot, so that what was read is not used. It
takes care of registered maps alone; all else ends the process as before.

The handler is machine code made at run time: it may run in any thread, with whatever locks that thread holds, so it
must not be Python, allocate or wait. It calls `mmap`, which is a system call and no more.
"""

import ctypes
import functools
import mmap
import os
import platform
import signal
import sys
import threading
from typing import Any

SLOTS = 1024
_WORDS = 3  # first address, address behind the last, whether zeros are in it
_NOWHERE = (1 << 64) - 1
_SIGACTION_BYTES = 256
_FLAGS_AT = 136  # behind the handler's address and a mask of 1024 bits
_SA_SIGINFO = 4
_SA_RESTART = 0x10000000
_ZEROS = 0x32  # MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED

_CALLED = ("mmap", "sigaction", "raise")
_INSTALLING = threading.Lock()

_HANDLER = """
define void @handler(i32 %signal, ptr %info, ptr %context) {{
entry:
  %code.at = getelementptr i8, ptr %info, i64 8
  %code = load i32, ptr %code.at, align 4
  %by.kernel = icmp sgt i32 %code, 0
  br i1 %by.kernel, label %address, label %other
address:
  %fault.at = getelementptr i8, ptr %info, i64 16
  %fault = load i64, ptr %fault.at, align 8
  br label %look
look:
  %slot = phi i64 [ 0, %address ], [ %next, %more ]
  %place = mul i64 %slot, {words}
  %start.at = getelementptr i64, ptr inttoptr (i64 {slots} to ptr), i64 %place
  %end.at = getelementptr i64, ptr %start.at, i64 1
  %start = load atomic i64, ptr %start.at acquire, align 8
  %end = load atomic i64, ptr %end.at acquire, align 8
  %again = load atomic i64, ptr %start.at acquire, align 8
  %behind = icmp uge i64 %fault, %start
  %before = icmp ult i64 %fault, %end
  %steady = icmp eq i64 %start, %again
  %within = and i1 %behind, %before
  %mine = and i1 %within, %steady
  br i1 %mine, label %cover, label %more
more:
  %next = add i64 %slot, 1
  %left = icmp ult i64 %next, {number}
  br i1 %left, label %look, label %other
cover:
  %page = and i64 %fault, {mask}
  %size = sub i64 %end, %page
  %got = call i64 inttoptr (i64 {mmap} to ptr)(i64 %page, i64 %size, i32 1, i32 {zeros}, i32 -1, i64 0)
  %covered = icmp eq i64 %got, %page
  br i1 %covered, label %tell, label %other
tell:
  %torn.at = getelementptr i64, ptr %start.at, i64 2
  store atomic i64 1, ptr %torn.at release, align 8
  ret void
other:
  %restored = call i32 inttoptr (i64 {sigaction} to ptr)(i32 %signal, ptr inttoptr (i64 {before} to ptr), ptr null)
  %raised = call i32 inttoptr (i64 {raise_} to ptr)(i32 %signal)
  ret void
}}
"""


class Guard:
    """The slots of the maps that the handler takes care of; one a process, see `guard`."""

    def __init__(self, slots: Any, code: Any) -> None:
        self._slots = slots
        self._code = code  # keeps the handler where it is
        self._free = list(range(SLOTS))
        self._lock = threading.Lock()

    def register(self, address: int, size: int) -> int | None:
        """Take care of a map of whole pages; return its slot, or None where all are taken."""
        with self._lock:
            if not self._free:
                return None
            slot = self._free.pop()
        at = slot * _WORDS
        self._slots[at + 2] = 0
        self._slots[at] = address
        self._slots[at + 1] = address + size
        return slot

    def torn(self, slot: int) -> bool:
        """Return whether zeros stand where something of the map could not be read."""
        return bool(self._slots[slot * _WORDS + 2])

    def release(self, slot: int) -> None:
        """Take care of a map no longer; it is unmapped after this."""
        at = slot * _WORDS
        self._slots[at + 1] = 0
        self._slots[at] = _NOWHERE
        with self._lock:
            self._free.append(slot)


def guard() -> Guard | None:
    """Return this process's guard, its handler installed; None where there is none for this machine.

    What handled SIGBUS before, such as `faulthandler`, is called for all other addresses: enable it first.
    """
    with _INSTALLING:
        return _installed()


@functools.cache
def _installed() -> Guard | None:
    if sys.platform != "linux" or platform.machine() not in {"x86_64", "aarch64"}:
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    slots = (ctypes.c_uint64 * (SLOTS * _WORDS))()
    for slot in range(SLOTS):
        slots[slot * _WORDS] = _NOWHERE
    before = ctypes.create_string_buffer(_SIGACTION_BYTES)
    if libc.sigaction(signal.SIGBUS, None, before):
        return None
    addresses = {name: ctypes.cast(getattr(libc, name), ctypes.c_void_p).value for name in _CALLED}
    text = _HANDLER.format(
        words=_WORDS,
        slots=ctypes.addressof(slots),
        number=SLOTS,
        mask=-mmap.PAGESIZE,
        zeros=_ZEROS,
        before=ctypes.addressof(before),
        mmap=addresses["mmap"],
        sigaction=addresses["sigaction"],
        raise_=addresses["raise"],
    )
    engine = _compiled(text)
    action = ctypes.create_string_buffer(_SIGACTION_BYTES)
    ctypes.c_uint64.from_buffer(action, 0).value = engine.get_function_address("handler")
    ctypes.c_int.from_buffer(action, _FLAGS_AT).value = _SA_SIGINFO | _SA_RESTART
    if libc.sigaction(signal.SIGBUS, action, None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return Guard(slots, (engine, before))


def _compiled(text: str) -> Any:
    import llvmlite.binding as llvm  # noqa: PLC0415  # the server imports what is beside this, and maps no sources

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(text)
    module.verify()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine
