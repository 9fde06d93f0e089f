"""NVIDIA's management library with two cards, for a server that a test starts; see ``cupy/`` beside it."""

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path

_here = Path(__file__).parent.resolve()
_spec = PathFinder.find_spec("pynvml", [path for path in sys.path if Path(path).resolve() != _here])
assert _spec is not None
assert _spec.loader is not None
_real = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_real)

# Its errors and constants are the real module's.
sys.modules["pynvml"] = _real
from fake_nvml import FakeCard, FakeNvml  # noqa: E402

sys.modules["pynvml"] = FakeNvml([FakeCard("GPU-aaaa"), FakeCard("GPU-bbbb", "NVIDIA L4")])  # type: ignore[assignment]
