"""Put together what a graph offers: parameters, what they are bound to, settings, sizes."""

import re
from dataclasses import dataclass, field
from typing import Any

from workflows.graph import Graph
from workflows.importing import Definitions, Imported, NotAMode, Reason
from workflows.proposing import parameters
from workflows.proposing.models import choices, loaded, main_model
from workflows.proposing.net import Net, Slot
from workflows.proposing.numbers import control_strength, extent, seeds, settings
from workflows.proposing.outputs import describe, find_picture, is_clear, keep_only
from workflows.proposing.photos import may_be_left_out, photos, with_own_mask
from workflows.proposing.questions import Choose, Question, take_first
from workflows.proposing.sizes import shapes
from workflows.proposing.switches import switches, title_of
from workflows.proposing.titles import clean, titled
from workflows.proposing.words import Words, prompts
from workflows.spec import IMAGES, MASK

_ROLES = {
    "prompt": "Prompt", "negative_prompt": "Negative prompt", "seed": "Sampler", "width": "Size",
    "image": "Photo", "image_2": "Photo 2", "image_3": "Photo 3", "image_4": "Photo 4",
    "mask": "Mask", "strength": "Strength", "checkpoint": "Checkpoint", "lora": "LoRA",
    "diffusion_model": "Diffusion model",
}  # fmt: skip
_SHOWN = 60


@dataclass
class Proposal:
    """What a mode of this graph is."""

    graph: Graph
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    """As in `mode.toml`: name → its table."""
    slots: dict[str, tuple[Slot, ...]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    multiple_of: int = 8
    alpha: bool = False
    """Whether its pictures have transparent parts."""
    files: tuple[str, ...] = ()
    """The names of the model files, as in ComfyUI's lists."""
    main_model: str = ""
    left: list[str] = field(default_factory=list)
    """What is as the workflow has it, or was left out: a sentence each."""

    @property
    def bind(self) -> dict[str, list[str]]:
        """Value → the inputs it goes to, as `Node title.input`."""
        return {
            name: [f"{self.graph[key]['_meta']['title']}.{entry}" for key, entry in slots]
            for name, slots in self.slots.items()
        }


def propose(imported: Imported, definitions: Definitions, choose: Choose = take_first) -> Proposal:
    """Propose a mode. Raises NotAMode with every reason why there can be none."""
    whole = Net(imported.graph, definitions)
    picture = find_picture(whole, choose)
    graph, left = keep_only(whole, picture)
    net = Net(graph, definitions)
    draft = Proposal(graph, alpha=is_clear(whole, picture), left=[*imported.left, *left])
    _single_picture(net, draft)
    files = loaded(net)
    draft.files = tuple(dict.fromkeys(file.name for file in files))
    draft.main_model = main_model(files)
    _add_photos(net, draft)
    _add_words(net, draft, choose)
    _add_numbers(net, draft)
    _add_settings(net, draft)
    for name, slot in choices(net, files):
        draft.slots[name], draft.settings[name] = (slot,), net.value(slot)
    roles = {picture[0]: "Picture"}
    for name, slots in draft.slots.items():
        if name in _ROLES:
            roles.setdefault(slots[0][0], _ROLES[name])
    draft.graph = titled(net, roles)
    return draft


def _single_picture(net: Net, draft: Proposal) -> None:
    """Set batches to one: for several pictures Easel repeats what depends on the seed."""
    for key in net.graph:
        origin = net.origin((key, "batch_size"))
        if (
            origin is None
            or not net.gives(key, "LATENT")
            or not isinstance(size := net.value(origin), int)
            or size <= 1
        ):
            continue
        net.graph[origin[0]] = {**net.graph[origin[0]]}
        net.graph[origin[0]]["inputs"] = {**net.graph[origin[0]]["inputs"], origin[1]: 1}
        draft.left.append(f"{describe(net, key)}: batch_size is 1 instead of {size}")


def _add_photos(net: Net, draft: Proposal) -> None:
    pictures, masks = photos(net)
    for key, _ in pictures:
        if mask := with_own_mask(net, key):
            masks.append(mask)
            draft.left.append(f"{describe(net, key)}: its mask is sent as a picture of its own")
    if not pictures:
        pictures, masks = masks, []
    if len(pictures) > len(IMAGES):
        excess = f"it takes {len(pictures)} photos; a mode takes at most {len(IMAGES)}"
        raise NotAMode(Reason("", "", excess))
    for name, slot in zip(IMAGES, pictures, strict=False):
        is_free = name != IMAGES[0] and may_be_left_out(net, slot[0])
        draft.parameters[name] = parameters.photo(name, is_required=not is_free)
        draft.slots[name] = (slot,)
    if masks:
        draft.parameters[MASK] = parameters.mask(is_required=not may_be_left_out(net, masks[0][0]))
        draft.slots[MASK] = tuple(masks)


def _add_words(net: Net, draft: Proposal, choose: Choose) -> None:
    found = prompts(net)
    has_photo = IMAGES[0] in draft.parameters
    for role, name in (("positive", "prompt"), ("negative", "negative_prompt")):
        if not (texts := found[role]):
            continue
        if role == "negative" and _is_without_effect(net):
            draft.left.append("the negative prompt is not bound: at cfg 1 it has no effect")
            continue
        lines = [_line(net, words) for words in texts]
        words = texts[choose(Question(name, lines)) if len(texts) > 1 else 0]
        is_required = role == "positive" and not has_photo
        draft.parameters[name] = parameters.text(name, words.text, is_required=is_required)
        draft.slots[name] = words.slots
        draft.left += (
            f"{line} could be the {name.replace('_', ' ')} too, and stays as it is"
            for line, other in zip(lines, texts, strict=True)
            if other is not words
        )


def _is_without_effect(net: Net) -> bool:
    slot = settings(net).get("cfg")
    return slot is not None and net.value(slot) == 1


def _line(net: Net, words: Words) -> str:
    short = re.sub(r"\s+", " ", words.text)
    short = short if len(short) <= _SHOWN else f"{short[:_SHOWN]}…"
    return f"{describe(net, words.slots[0][0])}: {short!r}"


def _add_numbers(net: Net, draft: Proposal) -> None:
    if all_seeds := seeds(net):
        draft.slots["seed"] = (all_seeds[0],)
        draft.parameters |= {"seed": parameters.SEED}
        draft.left += (
            f"{describe(net, key)}: {entry} stays {net.value((key, entry))}"
            for key, entry in all_seeds[1:]
        )
    if room := extent(net):
        draft.slots |= {"width": room.width, "height": room.height}
        draft.multiple_of = room.step if room.step > 1 else 8
        draft.sizes = shapes(room.size, draft.multiple_of)
        for side, pixels in zip(("width", "height"), room.size, strict=True):
            draft.parameters[side] = parameters.side(side, pixels, draft.multiple_of)
    elif settings(net):
        draft.left.append("the size is what the workflow makes of it")
    if all_seeds:
        draft.parameters["count"] = parameters.COUNT


def _add_settings(net: Net, draft: Proposal) -> None:
    """Bind the sampler's settings; with a photo, how much of it stays is for callers to say."""
    found = settings(net)
    has_photo = IMAGES[0] in draft.parameters
    denoise, control = found.pop("denoise", None), control_strength(net)
    if has_photo and denoise and net.value(denoise) < 1:
        draft.slots["strength"] = (denoise,)
        draft.parameters["strength"] = parameters.change(float(net.value(denoise)))
    elif has_photo and control:
        draft.slots["strength"] = (control,)
        draft.parameters["strength"] = parameters.closeness(float(net.value(control)))
    elif denoise and net.value(denoise) < 1:
        found["denoise"] = denoise
    for name, slot in switches(net):
        if name not in (*draft.slots, *found):
            draft.slots[name] = (slot,)
            title = clean(title_of(net, slot))
            draft.parameters[name] = parameters.switch(title, is_on=net.value(slot))
    for name, slot in found.items():
        value = net.value(slot)
        draft.slots[name] = (slot,)
        draft.settings[name] = round(value, 6) if isinstance(value, float) else value
