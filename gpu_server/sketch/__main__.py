"""`python -m gpu_server.sketch`: run the sketch engine as a process of its own."""

import argparse
from pathlib import Path

from gpu_server.sketch.app import create_app, create_server


def main() -> None:
    """Read the command line and serve until stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m gpu_server.sketch",
        description="Speaks ComfyUI's protocol and draws sketches without an AI model.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=8188, help="0 picks a free one")
    parser.add_argument(
        "--base-dir", type=Path, required=True, help="holds the folders input, output and temp"
    )
    parser.add_argument("--checkpoint", default="", help="one more checkpoint to offer, by name")
    parser.add_argument("--faults", action="store_true", help="allow POST /sketch/faults")
    parser.add_argument("--plain", action="store_true", help="leave out Easel's own nodes")
    options = parser.parse_args()
    app = create_app(
        options.base_dir,
        checkpoint=options.checkpoint,
        faults=options.faults,
        plain=options.plain,
    )
    try:
        server = create_server(
            app, options.host, options.port, announce=lambda text: print(text, flush=True)
        )
    except ValueError as error:
        parser.error(str(error))
    server.run()


if __name__ == "__main__":
    main()
