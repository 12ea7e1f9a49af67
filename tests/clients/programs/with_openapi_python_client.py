# mypy: ignore-errors
"""openapi-python-client: generate a client from the document, draw, fetch, follow, read errors."""

import base64
import os
import subprocess
import sys
from pathlib import Path

from report import encoded, step

URL, KEY = os.environ["EASEL_URL"], os.environ["EASEL_KEY"]
TOOLS = Path(sys.executable).parent
GENERATE = ("generate", "--url", f"{URL}/openapi.json", "--meta", "none", "--output-path", "easel")
made = subprocess.run(
    [TOOLS / "openapi-python-client", *GENERATE],
    env={**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}"},
    capture_output=True,
    text=True,
    check=False,
)
sys.path.insert(0, str(Path.cwd()))

from easel import AuthenticatedClient  # noqa: E402
from easel.api.generations import (  # noqa: E402
    create_generation,
    follow_generation,
    generate,
    get_image,
)
from easel.api.open_ai import generate_images  # noqa: E402
from easel.models import FreeGenerationRequest, RestyleGenerationRequest  # noqa: E402

client = AuthenticatedClient(base_url=URL, token=KEY, timeout=60)
FOX = {"prompt": "a red fox in snow", "width": 256, "height": 256}


@step
def is_generated_whole():
    models = [path.stem for path in Path("easel/models").glob("*.py")]
    copies = [name for name in models if "response_4" in name or "response_5" in name]
    return {"said": made.stdout + made.stderr, "copies": copies}


@step
def draws():
    drawn = generate.sync(client=client, body=FreeGenerationRequest(mode="free", **FOX))
    return [image.data for image in drawn.images]


@step
def redraws_a_photo():
    photo = base64.b64encode(Path(os.environ["PHOTO"]).read_bytes()).decode()
    body = RestyleGenerationRequest(mode="restyle", image=photo, seed=7)
    return [image.data for image in generate.sync(client=client, body=body).images]


@step
def follows_and_fetches():
    body = FreeGenerationRequest(mode="free", **FOX)
    accepted = create_generation.sync(client=client, body=body)
    events = follow_generation.sync(accepted.id, client=client)
    image = get_image.sync(accepted.id, 0, client=client)
    return {"events": events, "image": encoded(image.payload.read())}


@step
def is_told_what_is_wrong():
    body = FreeGenerationRequest(mode="free", prompt="a fox", width=9, height=256)
    problem = generate.sync(client=client, body=body)
    return {"code": problem.code, "fields": [fault.field for fault in problem.errors]}


@step
def is_told_that_the_key_is_wrong():
    wrong = AuthenticatedClient(base_url=URL, token="wrong-key-of-a-client")
    return generate.sync(client=wrong, body=FreeGenerationRequest(prompt="a fox")).code


@step
def reads_an_error_in_the_words_of_openai():
    models = sys.modules[generate_images.__name__]
    request = next(kind for name, kind in vars(models).items() if name.endswith("ImageRequest"))
    return generate_images.sync(client=client, body=request(prompt="a fox", n=99)).error.message
