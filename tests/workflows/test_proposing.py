"""What is proposed for a graph that nobody made for Easel: by class and link, never by position."""

import json
import random
import tomllib
from pathlib import Path
from typing import Any

import pytest

import workflows
from gpu_server.comfy.object_info import recorded
from workflows.graph import Graph
from workflows.importing import Imported, NotAMode
from workflows.proposing import Proposal, Question, mode_toml, propose

DEFINITIONS = recorded()
SHIPPED = Path(workflows.__file__).parent


def node(kind: str, title: str = "", **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}


def a_graph(**more: dict[str, Any]) -> Graph:
    """Draw from words; nodes in `more` take the place of those with their ids."""
    graph = {
        "save": node("SaveImage", images=["decode", 0], filename_prefix="x"),
        "decode": node("VAEDecode", samples=["draw", 0], vae=["model", 2]),
        "bad": node("CLIPTextEncode", text="blurry", clip=["model", 1]),
        "good": node("CLIPTextEncode", text="a fox", clip=["model", 1]),
        "model": node("CheckpointLoaderSimple", ckpt_name="my.safetensors"),
        "room": node("EmptyLatentImage", width=832, height=1216, batch_size=1),
        "draw": node(
            "KSampler",
            seed=7,
            steps=12,
            cfg=5.5,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
            model=["model", 0],
            positive=["good", 0],
            negative=["bad", 0],
            latent_image=["room", 0],
        ),
    }
    return graph | more


def proposed(graph: Graph, answer: int | None = None) -> Proposal:
    questions: list[Question] = []

    def choose(question: Question) -> int:
        questions.append(question)
        return answer or 0

    return propose(Imported(graph), DEFINITIONS, choose)


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*/*.json")), ids=lambda path: str(path)[-20:])
def test_the_shipped_graphs_are_bound_as_people_bound_them(file: Path) -> None:
    spec = tomllib.loads((file.parent / "mode.toml").read_text("utf-8"))
    graph = json.loads(file.read_text("utf-8"))
    wanted = spec["graphs"][file.stem]["bind"]
    found = proposed(graph).bind
    for name in set(wanted) - {"edge_low", "edge_high", "controlnet", "scale"}:
        assert found[name] == [wanted[name]], name


def test_neither_order_nor_ids_nor_titles_decide() -> None:
    graph = a_graph()
    keys = list(graph)
    random.Random(5).shuffle(keys)
    plain = proposed({key: graph[key] for key in keys})
    assert plain.bind == proposed(graph).bind
    assert plain.slots["prompt"] == (("good", "text"),)
    assert plain.slots["negative_prompt"] == (("bad", "text"),)
    assert plain.slots["seed"] == (("draw", "seed"),)
    assert plain.sizes["2:3"] == (832, 1216)
    assert plain.settings["steps"] == 12


def test_titles_are_given_where_missing_and_are_unique() -> None:
    graph = a_graph(good=node("CLIPTextEncode", "My words", text="a fox", clip=["model", 1]))
    titles = [n["_meta"]["title"] for n in proposed(graph).graph.values()]
    assert len(set(titles)) == len(titles)
    assert {"My words", "Negative prompt", "Sampler", "Size", "Picture"} <= set(titles)


def test_words_are_found_behind_whatever_joins_and_rewrites_them() -> None:
    user = node("PrimitiveStringMultiline", value="a fox")
    system = node("PrimitiveStringMultiline", value="You are a poet.")
    joined = node("StringConcatenate", string_a=["sys", 0], string_b=["user", 0], delimiter=" ")
    good = node("CLIPTextEncode", text=["join", 0], clip=["model", 1])
    found = proposed(a_graph(sys=system, user=user, join=joined, good=good))
    assert found.slots["prompt"] == (("user", "value"),)
    assert any("You are a poet." in sentence for sentence in found.left)


def test_what_is_open_is_asked_and_the_answer_taken() -> None:
    first = node("PrimitiveStringMultiline", value="a fox")
    second = node("PrimitiveStringMultiline", value="in snow")
    joined = node("StringConcatenate", string_a=["one", 0], string_b=["two", 0], delimiter=" ")
    good = node("CLIPTextEncode", text=["join", 0], clip=["model", 1])
    graph = a_graph(one=first, two=second, join=joined, good=good)
    assert proposed(graph).slots["prompt"] == (("one", "value"),)
    assert proposed(graph, answer=1).slots["prompt"] == (("two", "value"),)


def test_one_of_several_pictures_is_taken_and_the_others_are_named() -> None:
    small = node("ImageScaleBy", image=["decode", 0], upscale_method="area", scale_by=0.5)
    more = {"small": small, "last": node("SaveImage", "Small", images=["small", 0])}
    found = proposed(a_graph(**more))
    assert [n["class_type"] for n in found.graph.values()].count("SaveImage") == 1
    assert "small" in found.graph
    assert any("SaveImage (node save)" in sentence for sentence in found.left)
    assert "small" not in proposed(a_graph(**more), answer=1).graph


def test_of_many_other_outputs_only_the_number_is_told() -> None:
    more = {f"p{k}": node("PreviewImage", images=["decode", 0]) for k in range(4)}
    [sentence] = [s for s in proposed(a_graph(**more)).left if "output" in s]
    assert (
        sentence == "4 other outputs are left out: one output is the picture, SaveImage (node save)"
    )


def test_a_picture_that_is_cut_out_keeps_its_transparency() -> None:
    found = proposed(
        {
            "photo": node("LoadImage", image="a.png"),
            "clear": node("JoinImageWithAlpha", image=["photo", 0], alpha=["photo", 1]),
            "save": node("PreviewImage", images=["clear", 0]),
        }
    )
    text = mode_toml("x", found, title={"en": "X"}, description={}, model="m", files=())
    assert tomllib.loads(text)["graphs"]["main"]["alpha"] is True
    assert "alpha" not in mode_toml(
        "x", proposed(a_graph()), title={}, description={}, model="m", files=()
    )


def test_at_cfg_1_there_is_no_negative_prompt_and_it_is_said() -> None:
    graph = a_graph()
    graph["draw"]["inputs"]["cfg"] = 1.0
    found = proposed(graph)
    assert "negative_prompt" not in found.parameters
    assert any("at cfg 1" in sentence for sentence in found.left)


def test_custom_sampling_has_its_values_in_nodes_of_their_own() -> None:
    found = proposed(
        a_graph(
            draw=node(
                "SamplerCustomAdvanced",
                noise=["noise", 0],
                guider=["guide", 0],
                sampler=["kind", 0],
                sigmas=["steps", 0],
                latent_image=["room", 0],
            ),
            noise=node("RandomNoise", noise_seed=3),
            guide=node(
                "CFGGuider", cfg=4.0, model=["model", 0], positive=["good", 0], negative=["bad", 0]
            ),
            kind=node("KSamplerSelect", sampler_name="euler"),
            steps=node(
                "BasicScheduler", scheduler="simple", steps=20, denoise=1.0, model=["model", 0]
            ),
        )
    )
    assert found.slots["seed"] == (("noise", "noise_seed"),)
    assert found.slots["steps"] == (("steps", "steps"),)
    assert found.settings["cfg"] == 4.0
    assert found.slots["prompt"] == (("good", "text"),)


def test_the_size_of_a_picker_of_resolutions_is_for_callers_to_choose() -> None:
    picker = node("ResolutionSelector", aspect_ratio="16:9 (Widescreen)", megapixels=1, multiple=8)
    room = node("EmptyLatentImage", width=["pick", 0], height=["pick", 1], batch_size=3)
    found = proposed(a_graph(pick=picker, room=room))
    assert found.slots["width"] == (("room", "width"),)
    assert found.sizes["16:9"] == (1368, 768)
    assert any("batch_size is 1 instead of 3" in sentence for sentence in found.left)


def test_a_photo_a_mask_and_how_much_changes_are_parameters() -> None:
    graph = a_graph(
        photo=node("LoadImage", image="example.png"),
        room=node(
            "VAEEncodeForInpaint",
            pixels=["photo", 0],
            vae=["model", 2],
            mask=["photo", 1],
            grow_mask_by=6,
        ),
    )
    graph["draw"]["inputs"]["denoise"] = 0.6
    found = proposed(graph)
    assert found.bind["image"] == ["Photo.image"]
    assert found.bind["mask"] == ["Mask.image"]
    assert found.graph["room"]["inputs"]["mask"] == ["photo.mask", 1]
    assert found.parameters["strength"]["default"] == 0.6
    assert found.parameters["prompt"]["default"] == "a fox"
    assert not found.sizes


def test_a_second_photo_may_be_left_out_where_its_input_is_optional() -> None:
    encode = node(
        "TextEncodeQwenImageEditPlus",
        prompt="swap",
        clip=["model", 1],
        image1=["a", 0],
        image2=["b", 0],
    )
    photos = {key: node("LoadImage", image=f"{key}.png") for key in ("b", "a")}
    found = proposed(a_graph(good=encode, **photos))
    assert found.slots["image"] == (("a", "image"),)
    assert found.slots["image_2"] == (("b", "image"),)
    assert found.parameters["image"]["required"]
    assert not found.parameters["image_2"]["required"]


def test_an_upscaler_needs_neither_words_nor_seed() -> None:
    graph = {
        "1": node("LoadImage", image="a.png"),
        "2": node("UpscaleModelLoader", model_name="x4.safetensors"),
        "3": node("ImageUpscaleWithModel", upscale_model=["2", 0], image=["1", 0]),
        "4": node("PreviewImage", images=["3", 0]),
    }
    found = proposed(graph)
    assert list(found.parameters) == ["image"]
    assert found.files == ("x4.safetensors",)
    assert found.graph["4"]["class_type"] == "SaveImage"


def test_what_is_transparent_in_a_photo_is_no_mask_to_ask_for() -> None:
    graph = {
        "1": node("LoadImage", image="a.png"),
        "2": node("ImageInvert", image=["1", 0]),
        "3": node("InvertMask", mask=["1", 1]),
        "4": node("JoinImageWithAlpha", image=["2", 0], alpha=["3", 0]),
        "5": node("SaveImage", images=["4", 0], filename_prefix="x"),
    }
    assert list(proposed(graph).parameters) == ["image"]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"model": node("CheckpointLoaderSimple", ckpt_name="../../etc/x.safetensors")}, "leaves"),
        ({"model": node("CheckpointLoaderSimple", ckpt_name="C:\\x.safetensors")}, "leaves"),
        (
            {"room": node("EmptyHunyuanLatentVideo", width=64, height=64, length=5, batch_size=1)},
            "5 frames",
        ),
        ({"save": node("VAEDecode", samples=["draw", 0], vae=["model", 2])}, "saves or shows"),
    ],
)
def test_what_cannot_be_a_mode_is_refused_with_the_reason(
    more: dict[str, dict[str, Any]], reason: str
) -> None:
    with pytest.raises(NotAMode, match=reason):
        proposed(a_graph(**more))


def test_more_than_four_photos_are_refused() -> None:
    photos = {f"p{k}": node("LoadImage", image=f"{k}.png") for k in range(5)}
    batches = {
        f"b{k}": node("ImageBatch", image1=[f"b{k - 1}" if k else "decode", 0], image2=[f"p{k}", 0])
        for k in range(5)
    }
    save = {"save": node("SaveImage", images=["b4", 0])}
    with pytest.raises(NotAMode, match="takes 5 photos"):
        proposed(a_graph(**photos, **batches, **save))


def test_any_words_survive_the_way_through_toml() -> None:
    words = 'a "fox" \\ {prompt} \u007f \ud800 снег\n\n# x = [1]'
    photo = {"photo": node("LoadImage", image="a.png")}
    room = node("VAEEncode", pixels=["photo", 0], vae=["model", 2])
    good = node("CLIPTextEncode", "T]\n[x", text=words, clip=["model", 1])
    found = proposed(a_graph(good=good, room=room, **photo))
    title = {"en": 'He said: "no"', "zh-TW": "圖"}
    text = mode_toml("x", found, title=title, description={}, model="m", files=("a-b",))
    read = tomllib.loads(text)
    assert read["title"] == title
    assert "снег\n\n# x = [1]" in read["parameters"]["prompt"]["default"]
    assert read["graphs"]["main"]["bind"]["prompt"] == "T] [x.text"
