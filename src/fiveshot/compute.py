"""Which device, precision and number of threads a run uses, and its random numbers."""

from __future__ import annotations

import hashlib
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from fiveshot.config import Compute
from fiveshot.errors import FiveshotError


def available_cores() -> int:
    """Cores this process may use (a container or a queue may grant fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seed_of(*parts: object) -> int:
    """A seed in 0 .. 2**63 from the run's seed and names, the same on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


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
        return f"{self.device.type} ({name}), {'bfloat16' if self.bfloat16 else 'float32'}"


def choose_backend(settings: Compute) -> Backend:
    """Follow the settings, "auto" and 0 meaning the best that is there.

    Raises:
        FiveshotError: a GPU is asked for and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if settings.device == "cuda" and not has_gpu:
        raise FiveshotError("compute.device is cuda, but torch finds no GPU here; use auto or cpu.")
    device = torch.device("cuda" if has_gpu and settings.device != "cpu" else "cpu")
    # Torch emulates bfloat16 on older GPUs, and calls that support unless it is asked otherwise; it is slow.
    automatic = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    bfloat16 = automatic if settings.precision == "auto" else settings.precision == "bfloat16"
    threads = settings.threads or available_cores()
    torch.set_num_threads(threads)
    return Backend(device, bfloat16, threads)
