"""Which device, precision and number of threads a run uses, and its random numbers."""

from __future__ import annotations

import hashlib
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from fiveshot.core.errors import FiveshotError
from fiveshot.core.sections import Compute, number_or


def available_cores() -> int:
    """Cores this process may use (a container or a queue may grant fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seed_of(*parts: object) -> int:
    """A seed in 0 .. 2**63 from the run's seed and names, the same on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@cache
def lstm_in_bfloat16(device_type: str) -> bool:
    """Whether a device of this type ("cpu", "cuda") computes an LSTM in mixed precision, found by trying."""
    layer = nn.LSTM(2, 2, device="meta").to_empty(device=device_type)  # draws no random numbers
    try:
        with torch.autocast(device_type, dtype=torch.bfloat16):
            layer(torch.zeros(1, 1, 2, device=device_type))[0].float().sum().backward()
    except RuntimeError:
        return False
    return True


@dataclass(frozen=True)
class Backend:
    """Where the network runs."""

    device: torch.device
    bfloat16: bool
    threads: int

    def autocast(self) -> AbstractContextManager:
        """Mixed precision where it was chosen."""
        if not self.bfloat16:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def __str__(self) -> str:
        name = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else f"{self.threads} threads"
        )
        return f"{self.device.type} ({name}), {self._precision()}"

    def _precision(self) -> str:
        if not self.bfloat16:
            return "float32"
        if lstm_in_bfloat16(self.device.type):
            return "bfloat16"
        return (
            "bfloat16, but float32 for an LSTM, which this device cannot compute in bfloat16; it may have no "
            "units for bfloat16 at all, and be faster with compute.precision: float32"
        )


def choose_backend(settings: Compute) -> Backend:
    """Follow the settings; device "auto" is a GPU where there is one, threads "auto" is one per core.

    Raises:
        FiveshotError: a GPU is asked for and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if settings.device == "cuda" and not has_gpu:
        raise FiveshotError("compute.device is cuda, but torch finds no GPU here; use auto or cpu.")
    device = torch.device("cuda" if has_gpu and settings.device != "cpu" else "cpu")
    threads = number_or(settings.threads, available_cores())
    torch.set_num_threads(threads)
    return Backend(device, settings.precision == "bfloat16", threads)
