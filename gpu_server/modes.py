"""The answer to `GET /modes`, here and at the backend."""

from collections.abc import Mapping, Sequence

from gpu_server import schemas
from workflows import parameters
from workflows.catalog import Catalog


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
                }
                for name, parameter in mode.spec.parameters.items()
            },
            styles=[
                schemas.StyleInfo(
                    name=name,
                    title=style.title.model_dump(),
                    description=style.description.model_dump(),
                    model=mode.graph_spec(name).model,
                    sizes={r: list(s) for r, s in mode.graph_spec(name).sizes.items()},
                    ignores=list(mode.graph_spec(name).ignores),
                    available=health[mode.name][name].available,
                    reason=health[mode.name][name].reason,
                )
                for name, style in mode.styles.items()
            ],
        )
        for mode in catalog
    ]
    return [*working, *(_broken(name, faults) for name, faults in catalog.broken.items())]


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
