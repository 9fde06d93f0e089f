"""Names the folder in which numba keeps compiled kernels.

numba compiles a cached function anew when the file that it is written in changes, but not when a file does that it
calls into. So the folder is named after what all kernels are made of. This module imports no numba: the name must
be known, and put into ``NUMBA_CACHE_DIR``, before numba is imported.
"""

import hashlib
import os
from pathlib import Path

import platformdirs

_SOURCES = ("forest_*.py", "*_pack.py")


def kernel_folder() -> Path:
    """Return the folder of these very kernels: below ``NUMBA_CACHE_DIR``, or else in the user's cache."""
    kept = os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_path("scorestream") / "kernels"
    return Path(kept) / kernel_digest()


def kernel_digest() -> str:
    """Return 16 hexadecimal digits that change when any kernel's source does."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(path for pattern in _SOURCES for path in folder.glob(pattern)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
