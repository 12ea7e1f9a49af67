"""What a draft still lacks beside style and words, and how to ask for it. Pure."""

from backend.schemas import ModeInfo
from telegram_bot.catalogue import choices, further_photos, switches
from telegram_bot.flows import menus
from telegram_bot.generating import photos
from telegram_bot.messages.view import View
from telegram_bot.storage.people import Draft
from telegram_bot.texts import Texts


def may_follow(mode: ModeInfo) -> bool:
    """Return whether there is anything to ask for after the words."""
    return bool(further_photos(mode) or choices(mode) or switches(mode))


def following(texts: Texts, owner: int, mode: ModeInfo, draft: Draft) -> tuple[View, Draft] | None:
    """Return the next question, and the draft that awaits its answer; None if nothing is open."""
    sent = photos.unpacked(draft.photo)
    for name in further_photos(mode):
        if name not in sent and name not in draft.skipped:
            asking = draft.model_copy(update={"step": "photo", "asked": name})
            return menus.further_photo(texts, owner, mode, name), asking
    for name in choices(mode):
        if name not in draft.values:
            asking = draft.model_copy(update={"step": "choice", "asked": name})
            return menus.choice(texts, owner, mode, name), asking
    return None
