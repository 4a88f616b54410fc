"""A fake CUDA device: tensors said to lie on it are kept apart from those that do not.

Everything is computed on the CPU. What is asked for as "cuda" is remembered by its storage, what is computed
from it belongs there as well, and an operation on tensors of both places is refused as CUDA refuses it. So
the code paths of a GPU are walked, and a tensor left behind on the way is found, without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU = torch.device("cuda", 0)
# Operations that CUDA lets pass from one place to the other.
_COPIES = ("aten::copy_", "aten::_to_copy")
_INDEXED = ("aten::index", "aten::index_put_", "aten::_index_put_impl_", "aten::index_put")


class _There:
    """The storages on the fake device, kept so that no other takes their address."""

    def __init__(self) -> None:
        self.kept: dict[int, torch.UntypedStorage] = {}

    def add(self, value: object) -> object:
        for tensor in _tensors(value):
            storage = tensor.untyped_storage()
            self.kept[storage.data_ptr()] = storage
        return value

    def __contains__(self, tensor: torch.Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self.kept


def _tensors(value: object) -> list[torch.Tensor]:
    return [item for item in tree_leaves(value) if isinstance(item, torch.Tensor) and item.numel()]


class _Operations(TorchDispatchMode):
    """Every operation, those of the backward pass included: arguments in one place, results there too."""

    def __init__(self, there: _There) -> None:
        super().__init__()
        self.there = there

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given, name = _tensors((args, kwargs)), func._schema.name
        # A single number may come from the CPU, and so may the indices of what lies on the GPU.
        compared = _tensors([args[0], *args[2:]]) if name in _INDEXED and args[0] in self.there else given
        places = {tensor in self.there for tensor in compared if tensor.dim()}
        if len(places) > 1 and name not in _COPIES:
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, cuda:0 and cpu")
        found = func(*args, **kwargs)
        source = given[:1] if name in _COPIES else given
        return self.there.add(found) if any(tensor in self.there for tensor in source) else found


class _Calls(TorchFunctionMode):
    """What names a device or asks for one."""

    def __init__(self, there: _There) -> None:
        super().__init__()
        self.there = there

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        mine = isinstance(args[0], torch.Tensor) and args[0] in self.there if args else False
        if name == "__get__" and func.__self__ is torch.Tensor.device:
            return GPU if mine else func(*args, **kwargs)
        if name == "numpy" and mine:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if name == "pin_memory":
            return args[0]
        if name == "__deepcopy__" and mine:  # copies bytes, not by an operation
            return self.there.add(func(*args, **kwargs))
        if func is torch.Tensor.to:
            return self._moved(*args, **kwargs)
        if func is torch.Tensor.cpu:
            return self._moved(args[0], "cpu")
        wanted = kwargs.get("device")
        if wanted is None or torch.device(wanted).type != "cuda":
            return func(*args, **kwargs)
        if kwargs.get("generator") is not None:
            raise RuntimeError("expected a 'cuda' device type for generator but found 'cpu'")
        return self.there.add(func(*args, **kwargs | {"device": "cpu"}))

    def _moved(self, tensor: torch.Tensor, *given, device=None, dtype=None, memory_format=None, **_):
        for item in given:
            device = item if isinstance(item, (str, torch.device)) else device
            dtype = item if isinstance(item, torch.dtype) else dtype
        there = tensor in self.there if device is None else torch.device(device).type == "cuda"
        tensor = tensor.to(dtype or tensor.dtype, memory_format=memory_format or torch.preserve_format)
        if there == (tensor in self.there):
            return tensor
        return self._copied(tensor, there)

    def _copied(self, tensor: torch.Tensor, there: bool) -> torch.Tensor:
        moved = tensor.clone()
        storage = moved.untyped_storage()
        if there:
            self.there.add(moved)
        else:
            self.there.kept.pop(storage.data_ptr(), None)
        return moved


@contextmanager
def fake_cuda(monkeypatch: pytest.MonkeyPatch, bfloat16: bool = False) -> Iterator[None]:
    """A place where torch finds a GPU; mixed precision on it is that of the CPU."""
    mixed = torch.autocast
    with monkeypatch.context() as patched:
        patched.setattr(torch.cuda, "is_available", lambda: True)
        patched.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bfloat16)
        patched.setattr(torch.cuda, "get_device_name", lambda device=None: "fake")
        patched.setattr(torch.cuda, "synchronize", lambda device=None: None)
        patched.setattr(torch, "autocast", lambda device, **settings: mixed("cpu", **settings))
        there = _There()
        with _Calls(there), _Operations(there):
            yield
