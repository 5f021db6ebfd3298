"""Which runtime computes a network, and in which numbers: asked for, or chosen by what is installed and what the machine is fast at."""

import platform
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from somaseg.errors import InputError, MissingExtraError
from somaseg.runtimes.graphs import threads

RuntimeName = Literal["auto", "torch", "onnx"]
PrecisionName = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Runtime:
    """What computes a network.

    Attributes:
        name: "torch" or "onnx", which is onnxruntime.
        precision: "float32" or "bfloat16", which some operators do without.
        device: torch's name of the device; "cpu" with onnxruntime.
    """

    name: Literal["torch", "onnx"]
    precision: Literal["float32", "bfloat16"]
    device: str = "cpu"

    @property
    def about(self) -> dict[str, Any]:
        """As `run.json` has it, with the processor, and how many threads of it compute."""
        count = threads()
        if self.name == "torch":
            import torch

            count = torch.get_num_threads()
        return {"name": self.name, "precision": self.precision, "device": self.device, "threads": count, "processor": processor()}


def choose(runtime: RuntimeName = "auto", precision: PrecisionName = "auto", device: str | None = None, graphs: bool = True) -> Runtime:
    """A runtime that is installed and does what is asked.

    Args:
        runtime: "auto" takes torch where it is installed and computes on CUDA or, natively, in bfloat16; else onnxruntime.
        precision: "auto" takes bfloat16 in torch where the device computes in it natively.
        device: torch's name of the device; "cpu" or None also fits onnxruntime.
        graphs: whether all weights carry graphs for onnxruntime; without, "auto" takes torch.

    Raises:
        InputError: when runtime, precision and device do not go together, or there is no graph.
        MissingExtraError: when torch is needed but not installed.
    """
    fits_onnx = precision != "bfloat16" and device in (None, "cpu") and graphs
    if runtime == "onnx":
        if not fits_onnx:
            raise InputError(f"runtime onnx: {_why_not(precision, device)}: take --runtime torch")
        return Runtime("onnx", "float32")
    if find_spec("torch") is None:
        if runtime == "torch" or not fits_onnx:
            raise MissingExtraError("torch", "torch")
        return Runtime("onnx", "float32")
    return _choose_torch(runtime, precision, device, fits_onnx)


def _choose_torch(runtime: RuntimeName, precision: PrecisionName, device: str | None, fits_onnx: bool) -> Runtime:
    import torch

    from somaseg.runtimes.torch_precision import bf16_is_fast

    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    fast = bf16_is_fast(place)
    if precision == "bfloat16" and not fast:
        raise InputError(f"precision bfloat16: {processor()} does not compute in it, or many times slower: take --precision float32")
    native = fast and precision != "float32"
    if runtime == "auto" and fits_onnx and place.type == "cpu" and not native:
        return Runtime("onnx", "float32")
    return Runtime("torch", "bfloat16" if native else "float32", str(place))


def _why_not(precision: PrecisionName, device: str | None) -> str:
    if precision == "bfloat16":
        return "onnxruntime computes in float32 here, bfloat16 was asked for"
    if device not in (None, "cpu"):
        return f"onnxruntime computes on the processor here, {device} was asked for"
    return "the weights hold no graph for it, which `somaseg weights export` adds where the network has one"


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return name or platform.processor() or platform.machine()
