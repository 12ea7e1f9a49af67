"""The buttons of a generation that draw nothing new: while it runs and under its images."""

from contextlib import suppress

from telegram import Update
from telegram.error import BadRequest, NetworkError

from telegram_bot.context import Context, Declined, the_chat, the_query, the_user, toast
from telegram_bot.flows import history
from telegram_bot.generating import photos
from telegram_bot.messages import presenter
from telegram_bot.messages.callback_data import JobPress
from telegram_bot.messages.editor import MessageGone, Place
from telegram_bot.messages.view import View
from telegram_bot.storage.deliveries import Delivery
from web.errors import NotFound


async def on_cancel(update: Update, context: Context, _: JobPress, delivery: Delivery) -> None:
    if delivery.ended or not context.easel.tracker.cancel(delivery.generation):
        raise Declined("toast.already_finished")
    await toast(the_query(update), context.texts.plain("toast.cancelling"))


async def on_png(update: Update, context: Context, press: JobPress, _: Delivery) -> None:
    """Send the image as a lossless PNG file."""
    query, texts = the_query(update), context.texts
    await toast(query, texts.plain("toast.sending_file"))
    backend, number = context.easel.backend, press.number
    seed = (await backend.get(press.job)).images[number].seed
    media = await photos.result(backend, press.job, number, as_file=True, seed=seed)
    view = View(texts.html("results.file", seed=seed), media=media)
    reply_to = query.message.message_id if query.message else None
    try:
        await context.easel.editor.send(the_chat(update).id, view, reply_to=reply_to)
    except BadRequest:
        raise
    except NetworkError:
        # The file may have arrived: let the person press again rather than send it twice.
        await context.reply(update, View(texts.html("results.file_unsure")))


async def on_copy(update: Update, context: Context, press: JobPress, _: Delivery) -> None:
    """Send a prompt that is too long for a copy button as a text to tap."""
    await toast(the_query(update))
    generation = await context.easel.backend.get(press.job)
    await context.reply(update, View(context.texts.html("results.copy", prompt=generation.prompt)))


async def on_star(update: Update, context: Context, press: JobPress, _: Delivery) -> None:
    starred = press.action == "star"
    context.easel.deliveries.star(press.job, starred)
    key = "toast.starred" if starred else "toast.unstarred"
    await toast(the_query(update), context.texts.plain(key))
    await _restore_buttons(update, context, press)


async def on_report(update: Update, context: Context, press: JobPress, _: Delivery) -> None:
    """Count a report for the admins; anyone who sees an image may report it."""
    first = context.easel.deliveries.report(press.job, the_user(update).id)
    key = "toast.reported" if first else "toast.reported_already"
    await toast(the_query(update), context.texts.plain(key), alert=first)


async def on_delete(update: Update, context: Context, press: JobPress, _: Delivery) -> None:
    query = the_query(update)
    await toast(query)
    if query.message is not None:
        keyboard = presenter.confirm_delete(context.texts, press.job, press.argument)
        await context.easel.editor.set_keyboard(
            the_chat(update).id, query.message.message_id, keyboard
        )


async def on_keep(update: Update, context: Context, press: JobPress, delivery: Delivery) -> None:
    await toast(the_query(update))
    if press.argument == history.FROM_HISTORY:
        await history.show_again(update, context, delivery)
    else:
        await _restore_buttons(update, context, press)


async def on_delete_sure(
    update: Update, context: Context, press: JobPress, delivery: Delivery
) -> None:
    """Delete the images, the row and the messages; blank a message that Telegram keeps."""
    query, easel, texts = the_query(update), context.easel, context.texts
    await toast(query)
    with suppress(NotFound):  # it may have expired
        await easel.backend.delete(press.job)
    easel.deliveries.forget(press.job)
    shown = {(delivery.chat_id, delivery.message_id)}
    if query.message is not None:
        shown.add((the_chat(update).id, query.message.message_id))
    for chat_id, message_id in shown:
        if message_id and not await easel.editor.remove(chat_id, message_id):
            view = View(texts.html("results.deleted"), blank=True)
            with suppress(MessageGone):  # the person may have deleted it
                await easel.editor.edit(Place(chat_id, message_id, True), view)


async def on_page(update: Update, context: Context, press: JobPress, delivery: Delivery) -> None:
    """Show another image of the same generation."""
    await toast(the_query(update))
    easel, number = context.easel, press.number
    generation = await easel.backend.get(press.job)
    if number >= len(generation.images):
        return
    seed, as_file = generation.images[number].seed, context.person.preferences.as_file
    media = await photos.result(easel.backend, press.job, number, as_file=as_file, seed=seed)
    view = presenter.result(
        context.texts,
        generation,
        easel.catalogue.known(generation.mode),
        media,
        number=number,
        starred=delivery.favourite,
        restyles=await easel.catalogue.takes_photos(),
    )
    await context.change(the_query(update), view)


async def _restore_buttons(update: Update, context: Context, press: JobPress) -> None:
    query, easel = the_query(update), context.easel
    delivery = easel.deliveries.get(press.job)
    if query.message is None or delivery is None:
        return
    generation = await easel.backend.get(press.job)
    mode = easel.catalogue.known(generation.mode)
    keyboard = presenter.actions(
        context.texts,
        generation,
        number=press.number,
        starred=delivery.favourite,
        restyles=await easel.catalogue.takes_photos(),
        prompt=presenter.own_prompt(generation, mode),
    )
    await easel.editor.set_keyboard(the_chat(update).id, query.message.message_id, keyboard)


JOBS = {
    "cancel": on_cancel,
    "png": on_png,
    "copy": on_copy,
    "star": on_star,
    "unstar": on_star,
    "report": on_report,
    "delete": on_delete,
    "delete_sure": on_delete_sure,
    "keep": on_keep,
    "page": on_page,
}
