"""The answer to `GET /modes`, here and at the backend."""

from collections.abc import Mapping, Sequence

from gpu_server import schemas
from workflows import parameters
from workflows.catalog import Catalog, Mode


def describe_modes(
    catalog: Catalog, health: Mapping[str, Mapping[str, schemas.StyleHealth]]
) -> list[schemas.ModeInfo]:
    """Return the catalogue with each style's availability; `health`: mode → style → health."""
    working = [
        schemas.ModeInfo(
            name=mode.name,
            title=mode.spec.title.model_dump(),
            description=mode.spec.description.model_dump(),
            default_style=mode.spec.default_style,
            takes_image=mode.takes_image,
            available=any(s.available for s in health[mode.name].values()),
            parameters=parameters.json_schema(mode),
            texts={
                name: {
                    "title": parameter.title.model_dump(),
                    "description": parameter.description and parameter.description.model_dump(),
                    "unit": parameter.unit,
                    "choices": {c.value: c.title.model_dump() for c in parameter.choices},
                }
                for name, parameter in mode.spec.parameters.items()
            },
            styles=[
                *(_style(mode, name, health[mode.name][name]) for name in mode.styles),
                *(_left_out(mode, name, faults) for name, faults in mode.left_out.items()),
            ],
        )
        for mode in catalog
    ]
    return [*working, *(_broken(name, faults) for name, faults in catalog.broken.items())]


def _style(mode: Mode, name: str, health: schemas.StyleHealth) -> schemas.StyleInfo:
    style, graph = mode.styles[name], mode.graph_spec(name)
    return schemas.StyleInfo(
        name=name,
        title=style.title.model_dump(),
        description=style.description.model_dump(),
        model=graph.model,
        sizes={ratio: list(size) for ratio, size in graph.sizes.items()},
        ignores=list(graph.ignores),
        available=health.available,
        reason=health.reason,
    )


def _left_out(mode: Mode, name: str, faults: Sequence[str]) -> schemas.StyleInfo:
    """Describe a style that no request can name: what it would be cannot be told."""
    style = mode.spec.styles.get(name)
    return schemas.StyleInfo(
        name=name,
        title=style.title.model_dump() if style else {"en": name},
        description=style.description.model_dump() if style else {},
        model="",
        sizes={},
        ignores=[],
        available=False,
        reason="; ".join(faults),
    )


def _broken(name: str, faults: Sequence[str]) -> schemas.ModeInfo:
    return schemas.ModeInfo(
        name=name,
        title={"en": name},
        description={},
        default_style="",
        takes_image=False,
        available=False,
        reason="; ".join(faults),
        parameters={},
        texts={},
        styles=[],
    )
