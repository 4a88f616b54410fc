"""torchaudio's transforms, importable whichever build of torch is installed.

torchaudio 2.11 loads an extension linked to CUDA when it is imported, and fails beside a CPU-only torch.
Everything used here is plain Python on top of torch, so that a placeholder stands in for the extension.
"""

from __future__ import annotations

import sys
import types


def _import_transforms() -> types.ModuleType:
    try:
        import torchaudio.transforms as transforms
    except OSError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        extension = types.ModuleType("torchaudio._extension")
        extension._IS_TORCHAUDIO_EXT_AVAILABLE = False  # type: ignore[attr-defined]
        extension.fail_if_no_align = lambda function: function  # type: ignore[attr-defined]
        sys.modules["torchaudio._extension"] = extension
        import torchaudio.transforms as transforms
    return transforms


_transforms = _import_transforms()
MelSpectrogram = _transforms.MelSpectrogram
FrequencyMasking = _transforms.FrequencyMasking
TimeMasking = _transforms.TimeMasking
