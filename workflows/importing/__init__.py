"""Other people's workflows: from a file's bytes to a graph in API format. Pure; anyone may import.

`read` finds the workflow in a file and `convert` turns it into a graph. Both raise `NotAMode`.
"""

from workflows.importing.conversion import convert
from workflows.importing.sources import read
from workflows.importing.types import (
    Definitions,
    Document,
    Imported,
    ModelFile,
    NotAMode,
    Reason,
)

__all__ = [
    "Definitions",
    "Document",
    "Imported",
    "ModelFile",
    "NotAMode",
    "Reason",
    "convert",
    "read",
]
