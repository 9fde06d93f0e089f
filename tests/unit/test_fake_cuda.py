"""The stand-in for CuPy has the names, the parameters and the errors of the real one, as far as `cuda.py` uses them."""

import ast
import gc
import inspect
import re
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fake_cuda.cupy
from scorestream_server.device import cuda_compile

cupy: Any = pytest.importorskip("cupy", reason="needs CuPy, but no GPU")
MODULES = {"cupy": "", "runtime": "cuda.runtime.", "driver": "cuda.driver.", "nvrtc": "cuda.nvrtc."}
SOURCES = (Path(cuda_compile.__file__).with_name("cuda.py"), Path(cuda_compile.__file__))


def used() -> dict[str, list[ast.Call]]:
    """Return what of CuPy our code uses, by its path behind ``cupy.``, with the calls of it."""
    found: dict[str, list[ast.Call]] = {}
    for source in SOURCES:
        tree = ast.parse(source.read_text())
        calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
        inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and id(node) not in inner:
                root, _, rest = ast.unparse(node).partition(".")
                if root in MODULES:
                    found.setdefault(MODULES[root] + rest, []).extend(filter(None, [calls.get(id(node))]))
    return found


def look_up(root: Any, path: str) -> Any:
    for name in path.split("."):
        root = getattr(root, name)
    return root


def parameters(thing: Any) -> list[inspect.Parameter]:
    """Return the parameters of a function or a class; compiled ones tell them in their docstrings only."""
    try:
        found = inspect.signature(thing)
    except ValueError:
        written = re.search(r"\((.*?)\)(?: ->.*)?$", thing.__doc__.strip().splitlines()[0])
        assert written is not None, thing
        untyped = [part.strip().rpartition(" ")[2] for part in written[1].split(",") if part.strip()]
        code = f"lambda {', '.join(part for part in untyped if part != 'self')}: 0"
        found = inspect.signature(eval(code))  # noqa: S307  # a docstring of CuPy's
    return [parameter for parameter in found.parameters.values() if parameter.name != "self"]


@pytest.mark.parametrize("path", sorted(used()))
def test_what_our_code_uses_is_there_and_takes_what_it_is_given(path: str) -> None:
    """In the real CuPy and in the stand-in; and every call of it has arguments that both take."""
    for root in (cupy, fake_cuda.cupy):
        thing = look_up(root, path)
        for call in used()[path]:
            signature = inspect.Signature(parameters(thing))
            signature.bind(*call.args, **{keyword.arg or "": 0 for keyword in call.keywords})


@pytest.mark.parametrize("path", [path for path, calls in sorted(used().items()) if calls])
def test_the_stand_in_takes_nothing_that_cupy_does_not(path: str) -> None:
    """The same parameters in the same order; those that it leaves out have defaults."""
    theirs, ours = parameters(look_up(cupy, path)), parameters(look_up(fake_cuda.cupy, path))
    same = {parameter.name: parameter for parameter in ours}
    assert [parameter.name for parameter in theirs if parameter.name in same] == list(same)
    for parameter in theirs:
        if parameter.name in same:
            assert parameter.kind == same[parameter.name].kind
            assert (parameter.default is parameter.empty) == (same[parameter.name].default is parameter.empty)
        else:
            assert parameter.default is not parameter.empty


def test_what_our_code_asks_of_cupys_objects_is_there() -> None:
    """Methods and properties; of what compiled classes keep, their docstrings tell."""
    assert "RawKernel" in cupy.RawModule.get_function.__doc__
    assert inspect.isdatadescriptor(cupy.RawKernel.max_dynamic_shared_size_bytes)
    assert "shared_mem=0" in cupy.RawKernel.__call__.__doc__
    assert [parameter.name for parameter in parameters(cupy.RawModule.get_function)] == ["name"]
    assert hasattr(cupy.cuda.Memory, "ptr")
    assert "~Stream.ptr" in cupy.cuda.Stream.__doc__
    assert hasattr(cupy.cuda.Stream, "__enter__")
    assert [parameter.name for parameter in parameters(cupy.cuda.Event.record)] == ["stream"]
    assert not parameters(cupy.cuda.Event.synchronize)


@pytest.mark.parametrize("status", [2, 46, 101, 700])
def test_errors_say_what_cupys_say(status: int) -> None:
    """The same words and the same number, in classes that the same `except` catches."""
    theirs = cupy.cuda.runtime.CUDARuntimeError(status)
    ours = fake_cuda.cupy.cuda.runtime.CUDARuntimeError(status)
    assert (str(ours), ours.status) == (str(theirs), theirs.status)
    for path in ("runtime.CUDARuntimeError", "driver.CUDADriverError", "nvrtc.NVRTCError"):
        assert look_up(cupy.cuda, path).__bases__ == look_up(fake_cuda.cupy.cuda, path).__bases__


class HostMemory:
    """As `cupy.cuda.PinnedMemory`, of ordinary memory."""

    def __init__(self, size: int) -> None:
        self.bytes = np.zeros(size, np.uint8)
        self.ptr, self.size = self.bytes.ctypes.data, size


@pytest.fixture(params=[lambda: cupy, lambda: fake_cuda.cupy], ids=["cupy", "stand-in"])
def pointer_class(request: pytest.FixtureRequest) -> Any:
    return request.param().cuda.PinnedMemoryPointer


def test_an_array_keeps_its_pinned_memory_alive(pointer_class: Any) -> None:
    """`numpy.frombuffer` on a pointer: what is written is in the memory, which goes with the last view of it."""
    memory = HostMemory(64)
    view = np.frombuffer(pointer_class(memory, 0), np.uint8, 64)[8:16].view(np.float64)
    view[0] = 2.5
    assert memory.bytes[8:16].view(np.float64) == 2.5
    gone = weakref.ref(memory)
    del memory
    gc.collect()
    assert gone() is not None
    del view
    gc.collect()
    assert gone() is None
