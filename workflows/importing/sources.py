"""Find the workflow in a file's bytes."""

import json
from pathlib import PurePath

from workflows.importing.types import Document


def read(data: bytes, name: str) -> Document:
    """Find the workflow in a file: JSON in UI or API format, or an image that carries one.

    Raises NotAMode with a sentence that says what is wrong and where.
    """
    content = json.loads(data)
    return Document(PurePath(name).stem, "ui" if "nodes" in content else "api", content)
