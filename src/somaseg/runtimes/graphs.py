"""Graphs of a network in onnxruntime: the sessions, and the weights that they are given."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, NotImplemented

OrtFail = (Fail, InvalidArgument, InvalidGraph, NotImplemented)  # what onnxruntime raises for a graph that it cannot run
PREFIX = "model."  # of the weights' names in graphs


def threads() -> int:
    """Threads that a session uses: OMP_NUM_THREADS, as torch takes it, else the processors that this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_graph(graph: bytes, weights: Mapping[str, NDArray[np.float32]]) -> Any:
    """A session on the processor that runs a graph with these weights, each by the name of its tensor; those it does not use are left."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # NumPy computes between the graphs
    options.log_severity_level = 3
    names, values = [], []
    for name, value in weights.items():
        if _as_text(f"{PREFIX}{name}") in graph:
            names.append(f"{PREFIX}{name}")
            values.append(ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value, np.float32)))
    options.add_external_initializers(names, values)
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _as_text(name: str) -> bytes:
    """A name as a graph has it, its length before it."""
    text = name.encode()
    length = [len(text)] if len(text) < 128 else [len(text) % 128 + 128, len(text) // 128]
    return bytes(length) + text
