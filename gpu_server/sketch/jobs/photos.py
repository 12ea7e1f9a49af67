"""What the nodes for photos do: scale, find edges and subjects, join masks. Pure."""

import numpy as np

from gpu_server.sketch.jobs import pictures
from gpu_server.sketch.jobs.pictures import Picture
from gpu_server.sketch.jobs.values import Context, Inputs, Latent, Output


def encode(inputs: Inputs, _: Context) -> Output:
    images: list[Picture] = inputs["pixels"]
    width, height = images[0].size
    return Output((Latent(width, height, len(images), images),))


def find_subject(inputs: Inputs, context: Context) -> Output:
    context.faults.before_work()
    return Output((pictures.subject(inputs["image"][0]),))


def invert(inputs: Inputs, _: Context) -> Output:
    return Output((1 - inputs["mask"],))


def scale_by(inputs: Inputs, _: Context) -> Output:
    factor, method = inputs["scale_by"], inputs["upscale_method"]
    sizes = [[max(1, round(side * factor)) for side in p.size] for p in inputs["image"]]
    scaled = [
        pictures.scale(picture, width, height, method, "disabled")
        for picture, (width, height) in zip(inputs["image"], sizes, strict=True)
    ]
    return Output((scaled,))


def composite(inputs: Inputs, _: Context) -> Output:
    """Lay the source over the destination from its corner, where the mask says so."""
    destination, source = inputs["destination"][0], inputs["source"][0]
    if inputs["resize_source"]:
        width, height = destination.size
        source = pictures.scale(source, width, height, "bilinear", "disabled")
    x, y = inputs["x"], inputs["y"]
    pixels = destination.pixels.copy()
    there = pixels[y : y + source.size[1], x : x + source.size[0]]
    laid = source.pixels[: there.shape[0], : there.shape[1]]
    mask = inputs.get("mask")
    if mask is None:
        there[:] = laid
    else:
        share = pictures.fit_mask(mask, source.size)[: there.shape[0], : there.shape[1], None]
        there[:] = laid * share + there * (1 - share)
    return Output(([Picture(pixels)],))


def join_alpha(inputs: Inputs, _: Context) -> Output:
    joined = []
    for picture in inputs["image"]:
        alpha = 255 * (1 - pictures.fit_mask(inputs["alpha"], picture.size))
        joined.append(Picture(np.dstack((picture.pixels, alpha.astype(np.uint8)))))
    return Output((joined,))


def canny(inputs: Inputs, _: Context) -> Output:
    low, high = inputs["low_threshold"], inputs["high_threshold"]
    return Output(([pictures.edges(picture, low, high) for picture in inputs["image"]],))


def scale(inputs: Inputs, _: Context) -> Output:
    width, height, crop = inputs["width"], inputs["height"], inputs["crop"]
    method = inputs["upscale_method"]
    scaled = [pictures.scale(picture, width, height, method, crop) for picture in inputs["image"]]
    return Output((scaled,))


def scale_to_pixels(inputs: Inputs, _: Context) -> Output:
    scaled = []
    for picture in inputs["image"]:
        width, height = picture.size
        factor = (inputs["megapixels"] * 1024 * 1024 / (width * height)) ** 0.5
        size = max(1, round(width * factor)), max(1, round(height * factor))
        scaled.append(pictures.scale(picture, *size, inputs["upscale_method"], "disabled"))
    return Output((scaled,))
