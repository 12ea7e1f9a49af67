"""What each node class does. The loaders load nothing; the sampler draws."""

import random
import string
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from gpu_server.sketch.draw import Brief, Control, Drawing, style_of_model
from gpu_server.sketch.jobs import photos, pictures
from gpu_server.sketch.jobs.pictures import Picture, Pixels, Plane
from gpu_server.sketch.jobs.values import Conditioning, Context, Inputs, Latent, Model, Output

_EDGE_THRESHOLDS = 0.4, 0.8  # Canny's defaults
_PREVIEW_SIZE = 512  # longest side of a preview in pixels, as in ComfyUI


def _loader(name_input: str, slots: int = 1) -> "NodeFunction":
    def load(inputs: Inputs, context: Context) -> Output:
        context.faults.before_load(inputs[name_input])
        return Output((Model(inputs[name_input]),) * slots)

    return load


def _load_lora(inputs: Inputs, context: Context) -> Output:
    context.faults.before_load(inputs["lora_name"])
    return Output((inputs["model"],))


def _pass(name: str) -> "NodeFunction":
    def forward(inputs: Inputs, _: Context) -> Output:
        return Output((inputs[name],))

    return forward


def _encode_text(inputs: Inputs, _: Context) -> Output:
    return Output((Conditioning(inputs["text"]),))


def _zero_out(inputs: Inputs, _: Context) -> Output:
    return Output((replace(inputs["conditioning"], text=""),))


def _photo_as_condition(_: Inputs, __: Context) -> Output:
    return Output((Conditioning(""), Conditioning("")))


def _empty_latent(inputs: Inputs, _: Context) -> Output:
    return Output((Latent(inputs["width"], inputs["height"], inputs["batch_size"]),))


def _control(image: list[Picture], strength: float) -> Control:
    guide = image[0]
    if guide.photo is None:  # the photo itself, not its edges
        guide = pictures.edges(guide, *_EDGE_THRESHOLDS)
    return Control(guide.pixels, guide.photo, strength)


def _apply_control(inputs: Inputs, _: Context) -> Output:
    control = _control(inputs["image"], inputs["strength"])
    positive = replace(inputs["positive"], control=control)
    return Output((positive, replace(inputs["negative"], control=control)))


def _patch_control(inputs: Inputs, _: Context) -> Output:
    control = _control(inputs["image"], inputs["strength"])
    return Output((replace(inputs["model"], control=control),))


def _sample(inputs: Inputs, context: Context) -> Output:
    model, positive, latent = inputs["model"], inputs["positive"], inputs["latent_image"]
    context.faults.before_work()
    if latent.drawn:  # encoded from a photo: this engine adds nothing to it
        context.progress(inputs["steps"], inputs["steps"], None)
        return Output((latent,))
    overrides = context.overrides
    brief = Brief(
        style=overrides.style or style_of_model(model.name),
        prompt=positive.text if overrides.prompt is None else overrides.prompt,
        seed=inputs["seed"],
        width=latent.width,
        height=latent.height,
        control=positive.control or model.control,
    )
    steps = inputs["steps"]
    first = Drawing(brief)
    drawn = [Picture(first.pixels)]
    for step in range(1, steps + 1):
        context.faults.wait("slow")
        preview = partial(_preview, first, step / steps) if context.watched() else None
        context.progress(step, steps, preview)
        while len(drawn) < latent.batch * step // steps:
            drawn.append(Picture(Drawing(replace(brief, seed=brief.seed + len(drawn))).pixels))
    return Output((replace(latent, drawn=drawn),))


def _preview(drawing: Drawing, done: float) -> tuple[str, bytes]:
    return "jpeg", pictures.jpeg(drawing.preview(done, _PREVIEW_SIZE))


def _decode(inputs: Inputs, _: Context) -> Output:
    latent = inputs["samples"]
    blank = np.full((latent.height, latent.width, 3), 127, np.uint8)
    return Output((latent.drawn or [Picture(blank)] * latent.batch,))


def _input_image(inputs: Inputs, context: Context) -> Path:
    path = context.folders.input_image(inputs["image"])
    if path is None:
        raise FileNotFoundError(f"No such picture: {inputs['image']}")
    return path


def _load_image(inputs: Inputs, context: Context) -> Output:
    path = _input_image(inputs, context)
    return Output(([pictures.load(path)], _mask_in(path, "alpha")))


def _load_mask(inputs: Inputs, context: Context) -> Output:
    return Output((_mask_in(_input_image(inputs, context), inputs["channel"]),))


def _mask_in(path: Path, channel: str) -> Plane:
    plane = pictures.load_channel(path, channel)
    if plane is None:
        return np.zeros((64, 64), np.float32)
    return 1 - plane if channel == "alpha" else plane


def _empty_image(inputs: Inputs, context: Context) -> Output:
    context.faults.before_work()
    color = inputs["color"]
    pixels = np.empty((inputs["height"], inputs["width"], 3), np.uint8)
    pixels[:] = (color >> 16 & 255, color >> 8 & 255, color & 255)
    return Output(([Picture(pixels)] * inputs["batch_size"],))


def _save(
    images: list[Picture],
    context: Context,
    kind: str,
    prefix: str,
    suffix: str,
    encode: Callable[[Pixels], bytes],
) -> Output:
    target = context.folders.save_target(kind, prefix)
    saved = []
    for index, picture in enumerate(images):
        name = f"{target.name}_{target.counter + index:05}_{suffix}"
        (target.folder / name).write_bytes(encode(picture.pixels))
        saved.append({"filename": name, "subfolder": target.subfolder, "type": kind})
    return Output(ui={"images": saved})


def _save_image(inputs: Inputs, context: Context) -> Output:
    texts = {"prompt": context.graph, **context.texts}
    encode = partial(pictures.png, level=4, texts=texts)
    return _save(inputs["images"], context, "output", inputs["filename_prefix"], ".png", encode)


def _preview_image(inputs: Inputs, context: Context) -> Output:
    prefix = "ComfyUI_temp_" + "".join(random.choices(string.ascii_lowercase, k=5))  # noqa: S311
    encode = partial(pictures.png, level=1)
    return _save(inputs["images"], context, "temp", prefix, ".png", encode)


def _easel_output(inputs: Inputs, context: Context) -> Output:
    prefix = inputs["filename_prefix"]
    return _save(inputs["images"], context, "output", prefix, ".ppm", pictures.ppm)


def _send_image(inputs: Inputs, context: Context) -> Output:
    images: list[Picture] = inputs["images"]
    for index, picture in enumerate(images):
        context.progress(index, len(images), partial(_as_png, picture))
    return Output()


def _as_png(picture: Picture) -> tuple[str, bytes]:
    return "png", pictures.png(picture.pixels, 1)


NodeFunction = Callable[[Inputs, Context], Output]

FUNCTIONS: Mapping[str, NodeFunction] = {
    "CheckpointLoaderSimple": _loader("ckpt_name", slots=3),
    "UNETLoader": _loader("unet_name"),
    "CLIPLoader": _loader("clip_name"),
    "VAELoader": _loader("vae_name"),
    "ControlNetLoader": _loader("control_net_name"),
    "ModelPatchLoader": _loader("name"),
    "LoraLoaderModelOnly": _load_lora,
    "ModelSamplingAuraFlow": _pass("model"),
    "SetUnionControlNetType": _pass("control_net"),
    "CLIPTextEncode": _encode_text,
    "ConditioningZeroOut": _zero_out,
    "EmptyLatentImage": _empty_latent,
    "EmptySD3LatentImage": _empty_latent,
    "ControlNetApplyAdvanced": _apply_control,
    "QwenImageDiffsynthControlnet": _patch_control,
    "KSampler": _sample,
    "VAEDecode": _decode,
    "LoadImage": _load_image,
    "LoadImageMask": _load_mask,
    "ImageCompositeMasked": photos.composite,
    "JoinImageWithAlpha": photos.join_alpha,
    "Canny": photos.canny,
    "ImageScale": photos.scale,
    "ImageScaleBy": photos.scale_by,
    "ImageScaleToTotalPixels": photos.scale_to_pixels,
    "LoadBackgroundRemovalModel": _loader("bg_removal_name"),
    "RemoveBackground": photos.find_subject,
    "InvertMask": photos.invert,
    "SeedVR2Preprocess": _pass("resized_images"),
    "SeedVR2Conditioning": _photo_as_condition,
    "SeedVR2PostProcessing": _pass("images"),
    "VAEEncodeTiled": photos.encode,
    "VAEDecodeTiled": _decode,
    "EmptyImage": _empty_image,
    "SaveImage": _save_image,
    "PreviewImage": _preview_image,
    "EaselOutput": _easel_output,
    "SaveImageWebsocket": _send_image,
}
