"""Entry point: `python -m gpu_server`."""

import uvicorn

from gpu_server.jobs.records import open_file
from gpu_server.models.manifest import ManifestError
from gpu_server.server import create_app
from gpu_server.settings import ENV_FILE, Settings
from web import logs, server
from web.settings import load_or_exit, stop
from web.sqlite import FileRefused


def main() -> None:
    settings = load_or_exit(Settings, ENV_FILE)
    logs.configure("gpu_server", settings.gpu_log_level)
    try:
        app = create_app(settings)
        open_file(settings.easel_data_dir / "gpu_server").close()
    except (FileRefused, ManifestError) as error:
        stop(error)
    config = server.configuration(
        app, host=settings.gpu_host, port=settings.gpu_port, timeout_graceful_shutdown=5
    )
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
