"""The modes as `GET /modes` has them, without a backend."""

from backend.schemas import ModeInfo
from gpu_server.schemas import StyleInfo
from workflows import catalog
from workflows.parameters import json_schema


def published(name: str) -> ModeInfo:
    """Return a mode as `GET /modes` has it."""
    mode = catalog.load().modes[name]
    styles = [
        StyleInfo(
            name=style,
            title=spec.title.model_dump(),
            description=spec.description.model_dump(),
            model=mode.graph_spec(style).model,
            sizes={ratio: list(size) for ratio, size in mode.graph_spec(style).sizes.items()},
            ignores=[],
            available=True,
        )
        for style, spec in mode.styles.items()
    ]
    return ModeInfo(
        name=name,
        title=mode.spec.title.model_dump(),
        description=mode.spec.description.model_dump(),
        default_style=mode.spec.default_style,
        takes_image=mode.takes_image,
        available=True,
        parameters=json_schema(mode),
        texts={},
        styles=styles,
    )
