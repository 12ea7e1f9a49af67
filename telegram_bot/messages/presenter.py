"""Turn a generation's state into a view: text, keyboard, media. Pure."""

import math
from uuid import UUID

from backend.schemas import Generation, ModeInfo
from gpu_server.schemas import SKETCH
from telegram_bot.catalogue import schema_of, style_of
from telegram_bot.messages.callback_data import JobPress
from telegram_bot.messages.view import Button, Keyboard, Media, View, can_be_copied, pager, rows
from telegram_bot.texts import Markup, Texts, cut
from web.errors import UNCHECKED, Problem

_BAR_LENGTH = 8
_MAX_QUOTE = 600
_RETRYABLE = frozenset(
    {"rate_limited", "quota_exceeded", "queue_full", "no_gpu", "timeout", "out_of_memory"}
    | {"engine_error", "engine_lost", "internal", "backend_unreachable", "model_missing"}
)
_EDITABLE = frozenset({"content_refused", "invalid_request"})
_LONG_WAIT_S = 90.0


def cancel_row(texts: Texts, job: UUID, key: str = "button.cancel") -> Keyboard:
    return ((Button(texts.plain(key), JobPress(job, "cancel"), "danger"),),)


def waiting(texts: Texts, job: UUID, key: str = "job.sending") -> View:
    """Show a request that the backend has not answered yet."""
    return View(texts.html(key), cancel_row(texts, job))


def no_backend(texts: Texts, job: UUID, minutes: int) -> View:
    """Show that the backend is away, and for how long the bot keeps the request."""
    return View(texts.html("job.no_backend", n=minutes), cancel_row(texts, job, "button.forget"))


def no_gpu(texts: Texts, job: UUID) -> View:
    """Show that there is no GPU; the backend keeps the request, for as long as it is set to."""
    return View(texts.html("job.no_gpu"), cancel_row(texts, job, "button.forget"))


def progress(
    texts: Texts, generation: Generation, left_s: float | None, *, resumed: bool = False
) -> View:
    """Show a generation in the queue or being drawn; `left_s` is the time it still takes."""
    if generation.status == "queued":
        text = _queued(texts, generation)
    else:
        percent = min(99, int(generation.progress * 100))
        shown = texts.html("job.left", seconds=_seconds(texts, left_s)) if left_s else ""
        key = "job.loading" if generation.stage.startswith("loading") else "job.drawing"
        text = texts.html(key, bar=bar(generation.progress), percent=percent, left=shown)
    if resumed:
        text = texts.html("job.resumed", text=text)
    return View(text, cancel_row(texts, generation.id))


def shown_position(position: int | None) -> int | None:
    """Round a queue position: exact up to 5, then sparse, so that it is rarely edited."""
    if position is None or position <= 5:
        return position
    step = 5 if position <= 50 else 25
    return math.ceil(position / step) * step


def bar(share: float) -> str:
    full = min(_BAR_LENGTH, max(0, int(share * _BAR_LENGTH)))
    return "▓" * full + "░" * (_BAR_LENGTH - full)


def result(
    texts: Texts,
    generation: Generation,
    mode: ModeInfo | None,
    media: Media,
    *,
    number: int = 0,
    starred: bool = False,
    took_s: float | None = None,
    restyles: bool,
) -> View:
    """Show the picture, its facts, and everything one can do with it."""
    image = generation.images[number]
    style = texts.of(style_of(mode, generation.style).title) if mode else generation.style
    facts = [style, f"{image.width}×{image.height}", texts.plain("job.seed", seed=image.seed)]
    if took_s is not None:
        facts.append(_seconds(texts, max(1.0, took_s)))
    text = texts.html("job.done", facts=" · ".join(facts))
    if generation.engine.startswith(SKETCH):
        text = Markup(f"{text}\n{texts.html('job.sketch')}")
    prompt = own_prompt(generation, mode)
    keyboard = actions(
        texts, generation, number=number, starred=starred, restyles=restyles, prompt=prompt
    )
    return View(with_quote(texts, text, prompt), keyboard, media)


def own_prompt(generation: Generation, mode: ModeInfo | None) -> str:
    """Return the prompt, or nothing if it is the mode's default."""
    schema = schema_of(mode, "prompt") if mode else None
    default = schema.get("default") if schema else None
    return "" if generation.prompt == default else generation.prompt


def actions(
    texts: Texts,
    generation: Generation,
    *,
    number: int,
    starred: bool,
    restyles: bool,
    prompt: str,
) -> Keyboard:
    """Return the buttons under a picture; `restyles`: the backend has a mode that takes a photo."""
    shown = str(number) if number else ""

    def button(action: str) -> Button:
        return Button(texts.plain(f"button.{action}"), JobPress(generation.id, action, shown))

    names = ["again", "variation", "seed", "restyle", "png"]
    drawn = [button(name) for name in names if restyles or name not in ("variation", "restyle")]
    if can_be_copied(prompt):
        drawn.append(Button(texts.plain("button.copy"), copies=prompt))
    elif prompt:
        drawn.append(Button(texts.plain("button.copy"), JobPress(generation.id, "copy")))
    drawn += [button("unstar" if starred else "star"), button("report"), button("delete")]
    count, job = len(generation.images), generation.id
    paging = pager(number, count, lambda to: JobPress(job, "page", str(to)))
    return (*paging, *rows(drawn, 2))


def confirm_delete(texts: Texts, job: UUID, shown: str) -> Keyboard:
    """Ask before deleting; `shown` is the argument of the pressed button."""
    sure = Button(texts.plain("button.delete_sure"), JobPress(job, "delete_sure", shown), "danger")
    return ((sure, Button(texts.plain("button.keep"), JobPress(job, "keep", shown))),)


def quote(texts: Texts, prompt: str) -> Markup:
    """Quote the prompt, cut to what a caption has room for."""
    return texts.html("job.quote", prompt=cut(prompt, _MAX_QUOTE))


def with_quote(texts: Texts, text: Markup, prompt: str) -> Markup:
    return Markup(f"{text}\n{quote(texts, prompt)}") if prompt else text


def cancelled(texts: Texts, job: UUID, prompt: str, *, freed: bool) -> View:
    """Show that it was cancelled; `freed`: the GPU had begun."""
    text = texts.html("job.cancelled_freed" if freed else "job.cancelled")
    retry = Button(texts.plain("button.retry"), JobPress(job, "retry"))
    return View(with_quote(texts, text, prompt), ((retry,),), blank=True)


def failed(
    texts: Texts, job: UUID, problem: Problem, prompt: str, wait_s: float | None = None
) -> View:
    """Show what went wrong, with the prompt and the next step."""
    text = error_text(texts, problem, code_of(job), wait_s)
    buttons = []
    if problem.code in _RETRYABLE:
        buttons.append(Button(texts.plain("button.retry"), JobPress(job, "retry")))
    if problem.code in _EDITABLE and prompt:
        buttons.append(Button(texts.plain("button.edit"), JobPress(job, "edit")))
    if problem.code in ("timeout", "out_of_memory"):
        buttons.append(Button(texts.plain("button.smaller"), JobPress(job, "smaller")))
    keyboard = (tuple(buttons),) if buttons else ()
    return View(with_quote(texts, text, prompt), keyboard, blank=True)


def error_text(texts: Texts, problem: Problem, code: str, wait_s: float | None = None) -> Markup:
    """Word an error in the person's language by the backend's code, never its own sentence."""
    if problem.code == "content_refused":
        if problem.category == UNCHECKED:
            return texts.html("error.check_out_of_order")
        return texts.html("error.content_refused", category=category(texts, problem.category))
    if problem.code == "invalid_request":
        return _faults(texts, problem)
    if problem.code == "rate_limited" and wait_s is not None and wait_s > _LONG_WAIT_S:
        return texts.html("error.rate_limited_for", time=_approximate(texts, wait_s))
    key = f"error.{problem.code}"
    return texts.html(key if texts.has(key) else "error.internal", code=code)


def _faults(texts: Texts, problem: Problem) -> Markup:
    """Name the wrong fields as people know them, with the allowed values if they are a list."""
    lines: dict[str, str] = {}
    for fault in problem.errors:
        if texts.has(f"field.{fault.field}"):
            allowed = ", ".join(fault.allowed) if isinstance(fault.allowed, list) else ""
            key = "field.allowed" if allowed else "field.wrong"
            field = texts.html(f"field.{fault.field}")
            lines.setdefault(field, texts.html(key, field=field, allowed=allowed))
    if not lines:
        return texts.html("error.invalid_request")
    return texts.html("error.invalid_fields", faults=Markup("\n".join(lines.values())))


def category(texts: Texts, refused: str | None) -> str:
    key = f"category.{refused}"
    return texts.plain(key if texts.has(key) else "category.other")


def code_of(job: UUID) -> str:
    """Return the short code that a person reports and an operator searches the logs for."""
    return job.hex[:6].upper()


def not_taken(texts: Texts, job: UUID) -> View:
    """Show that Telegram takes the picture neither as a photo nor as a file."""
    retry = Button(texts.plain("button.png"), JobPress(job, "png"))
    return View(texts.html("job.not_taken", code=code_of(job)), ((retry,),), blank=True)


def no_pictures_here(texts: Texts, job: UUID) -> View:
    """Show that the group forbids photos and files: what is missing, and who can change it."""
    retry = Button(texts.plain("button.png"), JobPress(job, "png"))
    return View(texts.html("job.no_pictures_here"), ((retry,),))


def _queued(texts: Texts, generation: Generation) -> Markup:
    position = shown_position(generation.position)
    if position is None:
        return texts.html("job.queued")
    suffix = _suffix(position) if texts.code == "en" else ""
    ordinal = texts.plain("job.ordinal", position=f"{position}{suffix}")
    left = generation.estimated_seconds
    if not left:
        return texts.html("job.queued_at", position=ordinal)
    return texts.html("job.queued_for", position=ordinal, time=_approximate(texts, left))


def _suffix(n: int) -> str:
    if 10 <= n % 100 <= 20:
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")


def _approximate(texts: Texts, seconds: float) -> str:
    if seconds < 50:
        return texts.plain("time.seconds", n=max(5, math.ceil(seconds / 5) * 5))
    return texts.plain("time.minutes", n=max(1, round(seconds / 60)))


def _seconds(texts: Texts, seconds: float) -> str:
    if seconds < 90:
        return texts.plain("time.s", seconds=f"{max(1, round(seconds))}")
    return texts.plain("time.min", minutes=f"{round(seconds / 60)}")
