"""The guide's receiver takes what Easel sends, and nothing else."""

import re
import subprocess
import sys
import time
from pathlib import Path

from backend.webhooks import signing
from backend.webhooks.addresses import Addresses
from backend.webhooks.sender import Sender
from tests.backend.processes import ROOT, free_ports, until
from tests.backend.webhooks.receiver import SECRET

BODY = b'{"type":"generation.succeeded","data":{"id":"6f2c"}}'


async def test_the_receiver_of_the_guide_verifies(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.+?)```", (ROOT / "docs/webhooks.md").read_text(), re.S)
    (port,) = free_ports(1)
    script = tmp_path / "receiver.py"
    script.write_text(code.replace("whsec_...", SECRET).replace("9000", str(port)))
    sender = Sender(addresses=Addresses(["127.0.0.1"]))
    keys = signing.keys_of(SECRET)
    headers = signing.headers(keys, "msg_1", int(time.time()), BODY)
    old = signing.headers(keys, "msg_2", int(time.time()) - 3600, BODY)
    with (
        (tmp_path / "output").open("w") as output,
        subprocess.Popen([sys.executable, script], stdout=output) as receiver,
    ):
        try:

            async def delivered() -> bool:
                verdict = await sender.post(f"http://127.0.0.1:{port}/", BODY, headers)
                return verdict.outcome == "delivered"

            await until(delivered, "the receiver")
            for body, other in ((BODY + b" ", headers), (BODY, old)):
                verdict = await sender.post(f"http://127.0.0.1:{port}/", body, other)
                assert verdict.reason == "HTTP 401"
        finally:
            receiver.kill()
            await sender.close()
    assert "msg_1 generation.succeeded 6f2c" in (tmp_path / "output").read_text()
