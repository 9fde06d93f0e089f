"""Keeps pandas out of the processes of a server."""

import importlib.abc
import sys


class _Refusal(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("a server's processes do without pandas", name=fullname)


def without_pandas() -> None:
    """Have this process do as if pandas was not installed.

    Where it is, PyArrow imports it to make its first scalar or array, in case that it is given something of pandas':
    a quarter of a second and 35 MiB for each server and each worker, none of which ever has anything of pandas'.
    """
    sys.meta_path.insert(0, _Refusal())
