"""What a service answers at `/`: what it is and where to go on."""

import html
from collections.abc import Mapping

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from web import negotiation

_KINDS = ("text/plain", "text/html", "application/json")
_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
  body {{ font: 1.1rem/1.6 system-ui, sans-serif; max-width: 40rem }}
  body {{ margin: 4rem auto; padding: 0 1rem }}
  dt {{ font-family: ui-monospace, monospace }} dd {{ margin: 0 0 .6rem 1.5rem }}
</style>
<h1>{title}</h1>
<p>{description}</p>
<dl>
{links}
</dl>
<p><small>Version {version}</small></p>
</html>
"""


def add(app: FastAPI, addresses: Mapping[str, str]) -> None:
    """Answer at `/` with the title and description of `app` and these addresses: path → about."""

    async def front_page(request: Request) -> Response:
        match negotiation.best(request.headers.get("accept", ""), _KINDS):
            case "text/html":
                return HTMLResponse(_page(app, addresses), headers={"Vary": "Accept"})
            case "application/json":
                about = {"name": app.title, "description": app.description, "version": app.version}
                return JSONResponse({**about, "addresses": dict(addresses)}, headers=_VARY)
            case _:
                return PlainTextResponse(_text(app, addresses), headers=_VARY)

    app.get("/", include_in_schema=False)(front_page)


_VARY = {"Vary": "Accept"}


def _page(app: FastAPI, addresses: Mapping[str, str]) -> str:
    # Relative links: a proxy may serve this below a path of its own.
    links = "\n".join(
        f'<dt><a href="{path.lstrip("/")}">{path}</a></dt><dd>{html.escape(about)}</dd>'
        for path, about in addresses.items()
    )
    title, description = html.escape(app.title), html.escape(app.description)
    return _PAGE.format(title=title, description=description, version=app.version, links=links)


def _text(app: FastAPI, addresses: Mapping[str, str]) -> str:
    width = max(map(len, addresses)) + 2
    lines = [f"{path:<{width}}{about}" for path, about in addresses.items()]
    return "\n".join([f"{app.title} {app.version}", app.description, "", *lines, ""])
