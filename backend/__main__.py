"""Entry point: `python -m backend`."""

import uvicorn

from backend.main import create_app
from backend.settings import ENV_FILE, Settings
from web import logs
from web.settings import load_or_exit, stop
from workflows.catalog import CatalogError


def main() -> None:
    settings = load_or_exit(Settings, ENV_FILE)
    logs.configure("backend", settings.backend_log_level)
    try:
        app = create_app(settings)
    except CatalogError as error:
        stop(error)
    uvicorn.run(
        app,
        host=settings.backend_host,
        port=settings.backend_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
