"""Route button presses: the only place that decodes them and checks their owner."""

from collections.abc import Awaitable, Callable, Mapping

from telegram import Update
from telegram.ext import CallbackQueryHandler

from telegram_bot.context import Context, the_query, the_user, toast
from telegram_bot.messages.callback_data import JobPress, MenuPress, decode
from telegram_bot.storage.deliveries import Delivery

OnMenu = Callable[[Update, Context, MenuPress], Awaitable[None]]
OnJob = Callable[[Update, Context, JobPress, Delivery], Awaitable[None]]
_OPEN_TO_ALL = frozenset({"report"})
"""Actions that people other than the owner may use."""


def handler(
    menus: Mapping[str, OnMenu], jobs: Mapping[str, OnJob]
) -> CallbackQueryHandler[Context, None]:
    """Build the handler of all inline buttons, which dispatches by action."""

    async def on_press(update: Update, context: Context) -> None:
        query = the_query(update)
        press = decode(query.data or "")
        if isinstance(press, MenuPress) and press.action in menus:
            if press.owner != the_user(update).id:
                await toast(query, context.texts.plain("toast.not_yours"))
                return
            await menus[press.action](update, context, press)
        elif isinstance(press, JobPress) and press.action in jobs:
            await _job(update, context, press, jobs[press.action])
        else:
            await toast(query, context.texts.plain("toast.old_button"))

    return CallbackQueryHandler(on_press)


async def _job(update: Update, context: Context, press: JobPress, on_job: OnJob) -> None:
    query, easel = the_query(update), context.easel
    delivery = easel.deliveries.get(press.job)
    if delivery is None:
        await toast(query, context.texts.plain("toast.gone"))
        return
    if delivery.user_id != the_user(update).id and press.action not in _OPEN_TO_ALL:
        await toast(query, context.texts.plain("toast.not_yours"))
        return
    if delivery.message_id is None and query.message is not None and not delivery.ended:
        easel.tracker.adopt(press.job, query.message.message_id)
    await on_job(update, context, press, delivery)
