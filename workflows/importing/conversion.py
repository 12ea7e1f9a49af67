"""Turn a document into a graph in API format."""

from workflows.importing.types import Definitions, Document, Imported


def convert(document: Document, definitions: Definitions) -> Imported:
    """Return the graph that ComfyUI's own front end would send for this document.

    Raises NotAMode with every reason why no mode can be made of it.
    """
    return Imported(document.content)
