"""The buttons that draw from a generation: again, varied, restyled or with another prompt."""

from typing import Any

from telegram import Message, Update

from backend.schemas import Generation, GenerationRequest
from telegram_bot.catalogue import style_of
from telegram_bot.context import Context, Declined, the_chat, the_query, the_user, toast
from telegram_bot.flows import checks, restyle
from telegram_bot.generating import photos
from telegram_bot.generating.request import again, sized, variation
from telegram_bot.messages import presenter
from telegram_bot.messages.callback_data import JobPress
from telegram_bot.messages.editor import Place
from telegram_bot.messages.view import Button, View, can_be_copied
from telegram_bot.storage.deliveries import Delivery, State
from telegram_bot.storage.people import Draft

_DOUBLE_TAP_S = 2.0
"""How long to ignore a repeated press of the same button."""
_SHRINK_FACTOR = 0.75


async def on_again(update: Update, context: Context, press: JobPress, delivery: Delivery) -> None:
    """Draw the same request with another seed."""
    generation = await _generation_to_redraw(update, context, press, delivery)
    if generation is not None:
        await _draw(update, context, press, again(generation), delivery.photo)


async def on_variation(
    update: Update, context: Context, press: JobPress, delivery: Delivery
) -> None:
    """Draw the same prompt with this image as the photo to restyle."""
    generation = await _generation_to_redraw(update, context, press, delivery)
    if generation is not None:
        mode = await context.easel.catalogue.choose(takes_image=True)
        photo = photos.from_generation(press.job, press.number)
        await _draw(update, context, press, variation(generation, mode), photo)


async def on_seed(update: Update, context: Context, press: JobPress, delivery: Delivery) -> None:
    """Ask for another prompt, to be drawn with the seed of this image."""
    await toast(the_query(update))
    generation = await context.easel.backend.get(press.job)
    seed = generation.seed + press.number
    request, photo = again(generation, seed=seed, count=1), delivery.photo
    await _ask_for_prompt(update, context, request, photo, "results.same_seed", seed=seed)


async def on_edit(update: Update, context: Context, _: JobPress, delivery: Delivery) -> None:
    """Ask for another prompt after the backend refused the request."""
    await toast(the_query(update))
    request, photo = delivery.request, delivery.photo
    await _ask_for_prompt(update, context, request, photo, "results.other_words")


async def on_restyle(update: Update, context: Context, press: JobPress, _: Delivery) -> None:
    """Start a restyle with this image as its photo."""
    await toast(the_query(update))
    photo = photos.from_generation(press.job, press.number)
    await restyle.begin(update, context, photo, "")


async def on_retry(update: Update, context: Context, press: JobPress, delivery: Delivery) -> None:
    """Retry a failed or cancelled generation in the same message."""
    await _retry(update, context, press, delivery, delivery.request)


async def on_smaller(update: Update, context: Context, press: JobPress, delivery: Delivery) -> None:
    """Retry at a smaller size, each side a multiple of 64 and at least 256 pixels."""
    request, values = delivery.request, delivery.request.values
    mode = context.easel.catalogue.known(request.mode)
    if mode is None:
        raise Declined("toast.gone")
    size = {"width": values.get("width"), "height": values.get("height")}
    if not all(size.values()):
        first = next(iter(style_of(mode, request.style).sizes), None)
        size = dict(sized(mode, request.style, first))
    changed = {
        side: max(256, round(int(v or 0) * _SHRINK_FACTOR / 64) * 64) for side, v in size.items()
    }
    await _retry(update, context, press, delivery, request.model_copy(update=changed))


async def _retry(
    update: Update,
    context: Context,
    press: JobPress,
    delivery: Delivery,
    request: GenerationRequest,
) -> None:
    query = the_query(update)
    message = query.message
    if message is None or not delivery.can_be_retried:
        raise Declined("toast.already_on_it")
    if await _is_held_back(update, context, press):
        return
    await toast(query, context.texts.plain("toast.on_it"))
    holds_media = isinstance(message, Message) and not message.text
    place = Place(message.chat.id, message.message_id, holds_media)
    origin = f"{_origin(update, press)}/{query.id}"
    added = context.draw(request, place.chat_id, origin, photo=delivery.photo, place=place)
    if added and delivery.ended:  # a row in `revoking` stays until the backend has been told
        context.easel.deliveries.forget(press.job)


async def _generation_to_redraw(
    update: Update, context: Context, press: JobPress, delivery: Delivery
) -> Generation | None:
    """Return the generation to draw from; None if the bot is paused. Raises Declined."""
    if delivery.state is not State.delivered:
        raise Declined("toast.not_ready")
    if await _is_held_back(update, context, press):
        return None
    await toast(the_query(update), context.texts.plain("toast.on_it"))
    return await context.easel.backend.get(press.job)


async def _is_held_back(update: Update, context: Context, press: JobPress) -> bool:
    """Return whether the bot is paused, and say it then. Raises Declined for a double tap."""
    user_id = the_user(update).id
    last = context.easel.deliveries.seconds_since(user_id, _origin(update, press))
    if last is not None and last < _DOUBLE_TAP_S:
        raise Declined("toast.already_on_it")
    return await checks.paused(update, context)


async def _draw(
    update: Update, context: Context, press: JobPress, request: GenerationRequest, photo: str | None
) -> None:
    query = the_query(update)
    origin = f"{_origin(update, press)}/{query.id}"
    reply_to = query.message.message_id if query.message else None
    context.draw(request, the_chat(update).id, origin, photo=photo, reply_to=reply_to)


async def _ask_for_prompt(
    update: Update,
    context: Context,
    request: GenerationRequest,
    photo: str | None,
    key: str,
    **shown: Any,
) -> None:
    values = dict(request.values)
    prompt = str(values.pop("prompt", ""))
    draft = Draft(
        mode=request.mode,
        step="words" if photo else "prompt",
        chat_id=the_chat(update).id,
        style=request.style or None,
        photo=photo,
        values=values,
    )
    context.set_draft(draft)
    texts = context.texts
    text = texts.html(key, quote=presenter.quote(texts, prompt), **shown)
    copy = Button(texts.plain("button.copy"), copies=prompt)
    await context.reply(update, View(text, ((copy,),) if can_be_copied(prompt) else ()))


def _origin(update: Update, press: JobPress) -> str:
    message = the_query(update).message
    return f"{message.message_id if message else press.job}:{press.action}"


JOBS = {
    "again": on_again,
    "variation": on_variation,
    "seed": on_seed,
    "edit": on_edit,
    "restyle": on_restyle,
    "retry": on_retry,
    "smaller": on_smaller,
}
