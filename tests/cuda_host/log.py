"""What the tests learn about the CUDA kernels, for the summary at the end of a run."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, field
from typing import Any

from scorestream_server.device.cuda_compile import Compiled, Program, Resources

Told = tuple[Iterable[tuple[Any, ...]], Iterable[tuple[str, str]]]


@dataclass
class KernelLog:
    """Compiled kernels by program, kernel and architecture; kernels that ran on the host by program and kernel."""

    compiled: dict[tuple[str, str, int], Resources] = field(default_factory=dict)
    on_host: set[tuple[str, str]] = field(default_factory=set)

    def add(self, program: Program, architecture: int, compiled: Compiled) -> None:
        for kernel, resources in compiled.resources.items():
            self.compiled[program.name, kernel, architecture] = resources

    def told(self) -> Told:
        """Return all of it in plain values, for another process."""
        return [(*key, *astuple(found)) for key, found in self.compiled.items()], list(self.on_host)

    def take(self, told: Told) -> None:
        """Add what another process told."""
        compiled, on_host = told
        for program, kernel, architecture, *resources in compiled:
            self.compiled[program, kernel, architecture] = Resources(*resources)
        self.on_host.update((program, kernel) for program, kernel in on_host)

    def lines(self) -> list[str]:
        """Return a line a kernel, and the total first; nothing where no test looked at a kernel."""
        variants = {(program, kernel) for program, kernel, _ in self.compiled}
        if not variants | self.on_host:
            return []
        architectures = {architecture for _, _, architecture in self.compiled}
        names = sorted({kernel for _, kernel in variants | self.on_host})
        total = (
            f"{len(names)} kernels: {len(variants)} variants compiled for {len(architectures)} architectures "
            f"({len(self.compiled)} in all), {len(self.on_host)} variants ran on the host"
        )
        return [total, *(self._line(name) for name in names)]

    def _line(self, name: str) -> str:
        ran = f"{sum(kernel == name for _, kernel in self.on_host)} on the host"
        found = [resources for (_, kernel, _), resources in self.compiled.items() if kernel == name]
        if not found:
            return f"  {name:12} {ran}"
        registers = [resources.registers for resources in found]
        return (
            f"  {name:12} {ran}; {len(found)} compiled: {min(registers)} to {max(registers)} registers, at most "
            f"{max(one.shared for one in found)} B static shared memory, {sum(one.spilled for one in found)} B spilled"
        )
