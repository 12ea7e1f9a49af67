"""The photos of a request, made ready for ComfyUI: judged, upright, in the size to draw."""

from gpu_server.pictures import encoding, uploads
from gpu_server.safety.guard import Guard
from web.client import Photos
from web.errors import ContentRefused
from workflows.catalog import Mode
from workflows.parameters import Request
from workflows.render import Size, size_of
from workflows.spec import IMAGE, MASK


def prepare(
    guard: Guard, photos: Photos, mode: Mode, request: Request
) -> tuple[Size | None, dict[str, bytes]]:
    """Return the size to draw and every photo redrawn as PNG. Blocks; one photo after the other.

    The first photo has the shape of the picture, and so has the mask, which belongs to it; further
    photos keep their own. Raises InvalidImage, TooLarge, or as `Guard.require_decent`.
    """
    most = mode.graph_spec(request.style).photo_pixels
    size = size_of(mode, request)
    whole: Size | None = None
    prepared: dict[str, bytes] = {}
    faces: list[str] = []
    for name in sorted(photos, key=lambda name: name != IMAGE):  # the mask needs the photo's size
        with uploads.named(name):
            decode = uploads.decode_mask if name == MASK else uploads.decode
            photo = decode(photos[name])
        if name == IMAGE:
            whole, size = photo.size, size_of(mode, request, photo.size)
        elif name == MASK and whole is not None:
            photo = photo.resize(whole)
        if size is not None and name in (IMAGE, MASK):
            photo = encoding.fit_photo(photo, size)
        photo = encoding.within(photo, most) if size is None or name not in (IMAGE, MASK) else photo
        [verdict] = guard.require_decent([photo.convert("RGB")], photo=True)
        if verdict.shows_face and name != MASK:
            faces.append(name)
        prepared[name] = encoding.as_png(encoding.as_cut_out(photo) if name == MASK else photo)
    if len(faces) > 1:
        raise ContentRefused(
            f"There is a face in {' and in '.join(faces)}: only one photo of a request may show "
            "a face, because no mode here puts a person's face on another person",
            category="face_swap",
        )
    return size, prepared
