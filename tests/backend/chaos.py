"""Harm done to running services in random order, and what must hold when it is over."""

import asyncio
import base64
import io
import json
import os
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
from PIL import Image

from tests.backend.processes import Backend, Process, free_ports, started, states, until

_SLOW_STEP_S = 0.02
_LONGEST_FREEZE_S = 3.0
_END_TIMEOUT_S = 180.0


@dataclass
class Chaos:
    """An engine, a GPU server and one or more backends under generations and harm.

    Each round accepts some generations, cancels a few, and kills (-9), ends (TERM) or freezes
    (SIGSTOP) some of the processes meanwhile.
    """

    folder: Path
    engine: Process
    engine_url: str
    gpu: Process
    backends: list[Backend]
    http: httpx.AsyncClient
    random: Random
    accepted: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    """Those whose cancellation was confirmed."""
    unsure: set[str] = field(default_factory=set)
    """Those whose cancellation was requested and not answered."""
    harm: Counter[str] = field(default_factory=Counter)

    async def run(self, rounds: int) -> None:
        for _ in range(rounds):
            await asyncio.gather(self._generations(self.random.randint(1, 4)), self._do_harm())

    async def settle(self) -> None:
        """Wait until everything accepted has ended, and the services tidied up an hour later."""
        await self._until_all_ended()
        for file in _files(self.folder / "blobs"):
            os.utime(file, (0, 0))
        await asyncio.gather(*(self._restart(each) for each in self._processes))
        await self._until_all_ended()

    async def broken(self) -> dict[str, list[str]]:
        """Return what every invariant that does not hold is broken by; empty if all hold."""
        known = await self._known()
        lost = self.accepted - self.cancelled - self.unsure - known.keys()
        wrong = {one for one in known.keys() - self.unsure if not self._as_expected(one, known)}
        succeeded = {one for one, state in known.items() if state["status"] == "succeeded"}
        missing = {one for one in succeeded if not await self._image(one)}
        twice = {one for one, count in self._drawn().items() if count > 1}
        found = {
            "lost": lost,
            "ended otherwise": wrong,
            "without its image": missing,
            "drawn twice": twice,
            "left behind": set(await self._left_behind(succeeded)),
            "traceback": {p.module for p in self._processes if "Traceback" in p.output()},
        }
        return {what: sorted(ids) for what, ids in found.items() if ids}

    @property
    def _processes(self) -> list[Process]:
        return [self.engine, self.gpu, *self.backends]

    def _as_expected(self, one: str, known: dict[str, dict[str, Any]]) -> bool:
        return bool(known[one]["status"] == ("cancelled" if one in self.cancelled else "succeeded"))

    async def _generations(self, number: int) -> None:
        for _ in range(number):
            one = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
            await self._accept(one)
            if self.random.random() < 0.2:
                await self._cancel(one)

    async def _accept(self, one: str) -> None:
        body: dict[str, Any] = {"mode": "free", "prompt": "a lake", "width": 256, "height": 256}
        body["user"] = f"person {self.random.randrange(5)}"
        if self.random.random() < 0.5:
            body |= {"mode": "restyle", "image": _photo(self.random)}
        answer = await self._answered("PUT", one, json=body)
        assert answer.status_code in (200, 202), answer.text
        self.accepted.add(one)

    async def _cancel(self, one: str) -> None:
        backend = self.random.choice(self.backends)
        try:
            answer = await self.http.delete(f"{backend.url}/generations/{one}")
        except httpx.TransportError:
            self.unsure.add(one)
            return
        if answer.status_code == 200 and answer.json()["outcome"] == "cancelled":
            self.cancelled.add(one)
        else:
            self.unsure.add(one)

    async def _answered(self, method: str, one: str, **more: Any) -> httpx.Response:
        """Send a request again until any backend answers it."""

        async def answer() -> httpx.Response | None:
            url = f"{self.random.choice(self.backends).url}/generations/{one}"
            try:
                found = await self.http.request(method, url, **more)
            except httpx.TransportError:
                return None
            return None if found.status_code == 503 else found

        return await until(answer, f"an answer to {method}", pause=0.2)

    async def _do_harm(self) -> None:
        victims = self.random.sample(self._processes, self.random.choice((1, 1, 1, 2, 3)))
        what = self.random.choice((self._kill, self._end, self._freeze))
        self.harm[f"{what.__name__[1:]} {' + '.join(sorted(v.module for v in victims))}"] += 1
        await asyncio.sleep(self.random.random())  # anywhere within what runs
        await asyncio.gather(*(what(victim) for victim in victims))

    async def _kill(self, victim: Process) -> None:
        await asyncio.to_thread(victim.kill)
        await self._start(victim)

    async def _end(self, victim: Process) -> None:
        victim.send(signal.SIGTERM)
        await asyncio.to_thread(victim.wait, _END_TIMEOUT_S)
        await self._start(victim)

    _restart = _end

    async def _freeze(self, victim: Process) -> None:
        victim.send(signal.SIGSTOP)
        await asyncio.sleep(self.random.uniform(0.1, _LONGEST_FREEZE_S))
        victim.send(signal.SIGCONT)

    async def _start(self, victim: Process) -> None:
        victim.start()
        if victim is self.engine:
            await self.slow_down()

    async def slow_down(self) -> None:
        """Have the engine take its time, as soon as it answers."""

        async def done() -> bool:
            fault = {"fault": "slow", "seconds": _SLOW_STEP_S}
            try:
                answer = await self.http.post(f"{self.engine_url}/sketch/faults", json=fault)
            except httpx.TransportError:
                return False
            return answer.is_success

        await until(done, "the engine")

    async def _known(self) -> dict[str, dict[str, Any]]:
        return await states(self.http, self.backends[0].url)

    async def _until_all_ended(self) -> None:
        for backend in self.backends:
            await backend.up(self.http)

        async def all_ended() -> bool:
            active = {"queued", "running"}
            return all(state["status"] not in active for state in (await self._known()).values())

        await until(all_ended, "everything to end", _END_TIMEOUT_S, pause=0.5)

    async def _image(self, one: str) -> bool:
        answer = await self.http.get(f"{self.backends[-1].url}/generations/{one}/images/0")
        return answer.content.startswith(b"\x89PNG")

    def _drawn(self) -> Counter[str]:
        lines = [json.loads(line) for line in self.gpu.output().splitlines() if line[:1] == "{"]
        ended = [line for line in lines if line.get("event") == "job_ended"]
        return Counter(line["generation_id"] for line in ended if line["outcome"] == "succeeded")

    async def _left_behind(self, succeeded: set[str]) -> list[str]:
        """List the files that remain and should not, once the services have tidied up."""

        async def tidy() -> bool:
            return not self._stray_files(succeeded)

        try:
            await until(tidy, "nothing to be left behind", 20)
        except AssertionError:
            return self._stray_files(succeeded)
        return []

    def _stray_files(self, succeeded: set[str]) -> list[str]:
        kept = {f"{one}-0" for one in succeeded}
        blobs = [each for each in _files(self.folder / "blobs") if each.name not in kept]
        pod = [self.folder / "gpu" / "gpu_server" / "jobs"]
        pod += [self.folder / "engine" / name for name in ("input", "output", "temp")]
        return [str(each) for each in blobs + [each for one in pod for each in _files(one)]]


@asynccontextmanager
async def chaos(
    folder: Path, seed: int, database: str = "", replicas: int = 1
) -> AsyncIterator[Chaos]:
    """Start the services below `folder`, ready to draw; kill them at the end."""
    engine_port, gpu_port = free_ports(2)
    engine_url, gpu_url = (f"http://127.0.0.1:{port}" for port in (engine_port, gpu_port))
    arguments = ["--port", str(engine_port), "--base-dir", str(folder / "engine"), "--faults"]
    engine = Process("gpu_server.sketch", arguments, folder / "engine.log")
    settings = {
        "GPU_PORT": str(gpu_port),
        "COMFYUI_URL": engine_url,
        "EASEL_DATA_DIR": str(folder / "gpu"),
    }
    gpu = Process("gpu_server", [], folder / "gpu.log", settings)
    shared = {"easel_workflows_dir": "", "backend_images_url": (folder / "blobs").as_uri()}
    if database:
        shared["backend_database_url"] = database
    backends = [Backend(folder / f"backend{n}", [gpu_url], **shared) for n in range(replicas)]
    async with started(engine, gpu, *backends), httpx.AsyncClient(timeout=30) as http:
        found = Chaos(folder, engine, engine_url, gpu, backends, http, Random(seed))
        for backend in backends:
            await backend.up(http)
        await found.slow_down()
        yield found


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _photo(random: Random) -> str:
    """Return a small photo as a data URL."""
    file = io.BytesIO()
    Image.effect_noise((256, 256), random.uniform(10, 90)).convert("RGB").save(file, "JPEG")
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
