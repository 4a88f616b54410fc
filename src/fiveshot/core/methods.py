"""The methods there are, by name, which is all that settings know of them; see `adaptation.method`."""

from __future__ import annotations

# Name in detect.methods and in score files → the module that holds it, as METHOD.
METHODS = {
    "sed": "fiveshot.adaptation.sed",
    "te_vad": "fiveshot.adaptation.te_vad",
    "prototypical": "fiveshot.adaptation.prototypical",
    "template": "fiveshot.adaptation.template",
}
