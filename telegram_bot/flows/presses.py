"""Route button presses: the only place that decodes them and checks their owner."""

from collections.abc import Awaitable, Callable, Mapping

from telegram import Update
from telegram.ext import CallbackQueryHandler

from telegram_bot.context import Context, Declined, the_query, the_user, toast
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
        try:
            await _follow(update, context, menus, jobs)
        except Declined as declined:
            await toast(the_query(update), context.texts.plain(str(declined)))

    return CallbackQueryHandler(on_press)


async def _follow(
    update: Update, context: Context, menus: Mapping[str, OnMenu], jobs: Mapping[str, OnJob]
) -> None:
    press, user_id = decode(the_query(update).data or ""), the_user(update).id
    if isinstance(press, MenuPress) and press.action in menus:
        if press.owner != user_id:
            raise Declined("toast.not_yours")
        await menus[press.action](update, context, press)
    elif isinstance(press, JobPress) and press.action in jobs:
        delivery, message = context.easel.deliveries.get(press.job), the_query(update).message
        if delivery is None:
            raise Declined("toast.gone")
        if delivery.user_id != user_id and press.action not in _OPEN_TO_ALL:
            raise Declined("toast.not_yours")
        if delivery.message_id is None and message is not None and not delivery.ended:
            context.easel.tracker.adopt(press.job, message.message_id)
        await jobs[press.action](update, context, press, delivery)
    else:
        raise Declined("toast.old_button")
