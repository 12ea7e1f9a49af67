"""Files: saved, viewed, uploaded and removed."""

import io
import json
import uuid

from PIL import Image

from tests.gpu_server.sketch.comfy import Comfy, flat


async def test_view_answers_ranges_and_conditions(sketch: Comfy) -> None:
    async with sketch.socket("me") as socket:
        entry = await sketch.run(flat(), socket, "me")
    image = entry["outputs"]["2"]["images"][0]
    whole = await sketch.http.get("/view", params=image)
    assert whole.headers["content-type"] == "image/png"
    assert whole.headers["content-disposition"] == 'filename="flat_00001_.png"'
    for headers, status in (
        ({"range": "bytes=0-9"}, 206),
        ({"range": "bytes=999999-"}, 416),
        ({"if-none-match": whole.headers["etag"]}, 304),
        ({"if-modified-since": whole.headers["last-modified"]}, 304),
    ):
        answer = await sketch.http.get("/view", params=image, headers=headers)
        assert answer.status_code == status
        if status == 206:
            assert answer.content == whole.content[:10]
    small = await sketch.http.get("/view", params={**image, "preview": "jpeg;50"})
    assert small.headers["content-type"] == "image/jpeg"


async def test_easel_output_writes_raw_pixels(sketch: Comfy) -> None:
    async with sketch.socket("me") as socket:
        entry = await sketch.run(flat(0x0A141E, "easel/x", "EaselOutput"), socket, "me")
    image = entry["outputs"]["2"]["images"][0]
    assert image == {"filename": "x_00001_.ppm", "subfolder": "easel", "type": "output"}
    assert await sketch.view(image) == b"P6\n64 64\n255\n" + bytes((10, 20, 30)) * 64 * 64


async def test_easels_routes_identify_the_engine_and_remove_a_jobs_files(sketch: Comfy) -> None:
    facts = (await sketch.http.get("/easel")).json()
    assert (facts["version"], facts["engine"]) == (1, "sketch")
    uuid.UUID(facts["boot_id"])
    job, other = str(uuid.uuid4()), str(uuid.uuid4())
    async with sketch.socket("me") as socket:
        await sketch.run(flat(1, f"easel/{job}/a", "EaselOutput"), socket, "me")
        kept = await sketch.run(flat(2, f"easel/{other}/a", "EaselOutput"), socket, "me")
    files = {"image": ("p.png", b"x")}
    await sketch.http.post("/upload/image", files=files, data={"subfolder": f"easel/{job}-in"})
    removed = await sketch.http.delete(f"/easel/jobs/{job}")
    assert removed.json() == {"removed": 2}
    await sketch.view(kept["outputs"]["2"]["images"][0])
    assert (await sketch.http.delete(f"/easel/jobs/{job}")).json() == {"removed": 0}
    for wrong in ("x", job[:-1], job.replace("-", "")):
        assert (await sketch.http.delete(f"/easel/jobs/{wrong}")).status_code == 400


async def test_saved_images_carry_the_graph(sketch: Comfy) -> None:
    more = {"extra_data": {"extra_pnginfo": {"workflow": {"note": "x"}}}}
    async with sketch.socket("me") as socket:
        entry = await sketch.run(flat(), socket, "me", **more)
    data = await sketch.view(entry["outputs"]["2"]["images"][0])
    with Image.open(io.BytesIO(data)) as image:
        texts = image.info
    assert json.loads(texts["prompt"]) == flat()
    assert json.loads(texts["workflow"]) == {"note": "x"}


async def test_a_cut_off_upload_is_refused(sketch: Comfy) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = await sketch.http.post("/upload/image", content=b"--b\r\nbroken", headers=headers)
    assert answer.status_code == 400
    assert (await sketch.http.get("/queue")).status_code == 200
