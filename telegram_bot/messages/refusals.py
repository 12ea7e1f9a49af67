"""Tell refusals of Telegram that last from those that pass."""

from telegram.error import BadRequest, Forbidden, TelegramError

_NO_MEDIA = (
    *("rights to send photos", "rights to send documents", "rights to send media"),
    *("chat_send_photos_forbidden", "chat_send_docs_forbidden", "chat_send_media_forbidden"),
)
_NO_WRITING = (
    *("rights to send", "have no rights", "need administrator rights", "topic_closed"),
    *("chat_restricted", "chat_write_forbidden", "chat_send_plain_forbidden", "topic_deleted"),
    *("chat not found", "peer_id_invalid", "message thread not found", "user_is_blocked"),
    *("chat_admin_required", "channel_private", "user is deactivated", "input_user_deactivated"),
)


def forbids_pictures(error: TelegramError) -> bool:
    """Return whether the chat lets the bot write, but send no photos or files."""
    return isinstance(error, BadRequest) and _names(error, _NO_MEDIA)


def forbids_writing(error: TelegramError) -> bool:
    """Return whether the bot may not write there: blocked, removed, muted, or the chat is gone."""
    if isinstance(error, Forbidden):
        return True
    refused = isinstance(error, BadRequest) and _names(error, _NO_WRITING)
    return refused and not forbids_pictures(error)


def _names(error: TelegramError, reasons: tuple[str, ...]) -> bool:
    message = error.message.lower()
    return any(reason in message for reason in reasons)
