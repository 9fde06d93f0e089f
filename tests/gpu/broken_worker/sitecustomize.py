"""Python runs this where its folder is on PYTHONPATH: a worker process writes to address 0 of its card, once.

Once over all processes: the worker that finds the file named by STRAY_WRITE takes it away, and what it then puts on
the stream, in front of a launch of its own, is an illegal access that no process survives. CUDA tells it later, from
whatever call comes next, as it would a fault in a kernel of ours.
"""

import os
import sys
from pathlib import Path

SOURCE = 'extern "C" __global__ void stray_write(int* place) { *place = 1; }'


def _break(order: Path) -> None:
    import cupy  # noqa: PLC0415  # in a worker alone
    import numpy as np  # noqa: PLC0415
    from cupy.cuda import nvrtc  # noqa: PLC0415

    from scorestream_server.device import cuda  # noqa: PLC0415

    launch = cuda.CupyCalls.launch

    def launch_and_break(calls, stream, kernel, what):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        try:
            order.unlink()
        except FileNotFoundError:
            return launch(calls, stream, kernel, what)
        program = nvrtc.createProgram(SOURCE, "stray.cu", (), ())
        nvrtc.compileProgram(program, (f"-arch=sm_{calls._architecture}",))
        path = order.with_suffix(".cubin")
        path.write_bytes(nvrtc.getCUBIN(program))
        with stream:
            stray = cupy.RawModule(path=str(path)).get_function("stray_write")
            stray((1, 1, 1), (1, 1, 1), (np.uint64(0),))
        return launch(calls, stream, kernel, what)

    cuda.CupyCalls.launch = launch_and_break  # type: ignore[method-assign]


if "scorestream_server.workers.process" in sys.orig_argv and "cpu" not in sys.orig_argv:
    _break(Path(os.environ["STRAY_WRITE"]))
