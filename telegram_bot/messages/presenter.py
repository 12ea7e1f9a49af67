"""Turn a generation's state into a view: text, keyboard, media. Pure."""

import math
from collections.abc import Mapping
from uuid import UUID

from backend.schemas import Generation, ModeInfo
from telegram_bot.catalogue import SKETCH, schema_of, style_of
from telegram_bot.messages.callback_data import JobPress
from telegram_bot.messages.view import Button, Keyboard, Media, View, can_be_copied, rows
from telegram_bot.texts import Language, Markup, cut
from web.errors import UNCHECKED, Problem

_BAR_LENGTH = 8
_MAX_QUOTE = 600
_RETRYABLE = frozenset(
    {"rate_limited", "quota_exceeded", "queue_full", "no_gpu", "timeout", "out_of_memory"}
    | {"engine_error", "engine_lost", "internal", "backend_unreachable", "model_missing"}
)
_EDITABLE = frozenset({"content_refused", "invalid_request"})
_LONG_WAIT_S = 90.0


def cancel_row(say: Language, job: UUID, key: str = "button.cancel") -> Keyboard:
    return ((Button(say.plain(key), JobPress(job, "cancel"), "danger"),),)


def waiting(say: Language, job: UUID, key: str = "job.sending") -> View:
    """Show a request that the backend has not answered yet."""
    return View(say.html(key), cancel_row(say, job))


def no_backend(say: Language, job: UUID, minutes: int) -> View:
    """Show that the backend is away, and for how long the bot keeps the request."""
    return View(say.html("job.no_backend", n=minutes), cancel_row(say, job, "button.forget"))


def no_gpu(say: Language, job: UUID) -> View:
    """Show that there is no GPU; the backend keeps the request, for as long as it is set to."""
    return View(say.html("job.no_gpu"), cancel_row(say, job, "button.forget"))


def progress(
    say: Language, generation: Generation, left_s: float | None, *, resumed: bool = False
) -> View:
    """Show a generation in the queue or being drawn; `left_s` is the time it still takes."""
    text = _queued(say, generation) if generation.status == "queued" else ""
    if not text:
        percent = min(99, int(generation.progress * 100))
        shown = say.html("job.left", seconds=_seconds(say, left_s)) if left_s else ""
        key = "job.loading" if generation.stage.startswith("loading") else "job.drawing"
        text = say.html(key, bar=bar(generation.progress), percent=percent, left=Markup(shown))
    if resumed:
        text = say.html("job.resumed", text=text)
    return View(Markup(text), cancel_row(say, generation.id))


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
    say: Language,
    generation: Generation,
    mode: ModeInfo | None,
    media: Media,
    *,
    number: int = 0,
    starred: bool = False,
    took_s: float | None = None,
    restyles: bool = True,
) -> View:
    """Show the picture, its facts, and everything one can do with it."""
    image = generation.images[number]
    style = say.of(style_of(mode, generation.style).title) if mode else generation.style
    facts = [style, f"{image.width}×{image.height}", say.plain("job.seed", seed=image.seed)]
    if took_s is not None:
        facts.append(_seconds(say, max(1.0, took_s)))
    text = say.html("job.done", facts=" · ".join(facts))
    if generation.engine.startswith(SKETCH):
        text = Markup(f"{text}\n{say.html('job.sketch')}")
    prompt = own_prompt(generation, mode)
    if prompt:
        text = Markup(f"{text}\n{quote(say, prompt)}")
    keyboard = actions(
        say,
        generation,
        number=number,
        starred=starred,
        restyles=restyles,
        prompt=prompt,
    )
    return View(text, keyboard, media)


def own_prompt(generation: Generation, mode: ModeInfo | None) -> str:
    """Return the prompt, or nothing if it is the mode's default."""
    schema = schema_of(mode, "prompt") if mode else None
    default = schema.get("default") if schema else None
    return "" if generation.prompt == default else generation.prompt


def actions(
    say: Language,
    generation: Generation,
    *,
    number: int = 0,
    starred: bool = False,
    restyles: bool = True,
    prompt: str = "",
) -> Keyboard:
    """Return the buttons under a picture; `restyles`: the backend has a mode that takes a photo."""
    shown = str(number) if number else ""

    def button(action: str, tone: str | None = None) -> Button:
        press = JobPress(generation.id, action, shown)
        return Button(say.plain(f"button.{action}"), press, "danger" if tone else None)

    drawn = [button("again")]
    if restyles:
        drawn.append(button("variation"))
    drawn.append(button("seed"))
    if restyles:
        drawn.append(button("restyle"))
    drawn.append(button("png"))
    if prompt:
        drawn.append(_copy(say, generation.id, prompt))
    drawn += [button("unstar" if starred else "star"), button("report"), button("delete")]
    pages = _pages(generation, number)
    return (*((pages,) if pages else ()), *rows(drawn, 2))


def _copy(say: Language, job: UUID, prompt: str) -> Button:
    text = say.plain("button.copy")
    if can_be_copied(prompt):
        return Button(text, copies=prompt)
    return Button(text, JobPress(job, "copy"))


def _pages(generation: Generation, number: int) -> tuple[Button, ...]:
    count = len(generation.images)
    if count < 2:
        return ()
    before, after = (number - 1) % count, (number + 1) % count
    return (
        Button("◀️", JobPress(generation.id, "page", str(before))),
        Button(f"{number + 1}/{count}", JobPress(generation.id, "page", str(number))),
        Button("▶️", JobPress(generation.id, "page", str(after))),
    )


def confirm_delete(say: Language, job: UUID, shown: str) -> Keyboard:
    """Ask before deleting; `shown` is the argument of the pressed button."""
    return (
        (
            Button(say.plain("button.delete_sure"), JobPress(job, "delete_sure", shown), "danger"),
            Button(say.plain("button.keep"), JobPress(job, "keep", shown)),
        ),
    )


def quote(say: Language, prompt: str) -> Markup:
    """Quote the prompt, cut to what a caption has room for."""
    return say.html("job.quote", prompt=cut(prompt, _MAX_QUOTE))


def cancelled(say: Language, job: UUID, prompt: str, *, freed: bool) -> View:
    """Show that it was cancelled; `freed`: the GPU had begun."""
    text = say.html("job.cancelled_freed" if freed else "job.cancelled")
    retry = Button(say.plain("button.retry"), JobPress(job, "retry"))
    return View(_with(say, text, prompt), ((retry,),), blank=True)


def failed(
    say: Language, job: UUID, problem: Problem, prompt: str, wait_s: float | None = None
) -> View:
    """Show what went wrong, with the prompt and the next step."""
    text = error_text(say, problem, code_of(job), wait_s)
    buttons = []
    if problem.code in _RETRYABLE:
        buttons.append(Button(say.plain("button.retry"), JobPress(job, "retry")))
    if problem.code in _EDITABLE and prompt:
        buttons.append(Button(say.plain("button.edit"), JobPress(job, "edit")))
    if problem.code in ("timeout", "out_of_memory"):
        buttons.append(Button(say.plain("button.smaller"), JobPress(job, "smaller")))
    keyboard = (tuple(buttons),) if buttons else ()
    return View(_with(say, text, prompt), keyboard, blank=True)


def error_text(say: Language, problem: Problem, code: str, wait_s: float | None = None) -> Markup:
    """Word an error in the person's language by the backend's code, never its own sentence."""
    if problem.code == "content_refused":
        if problem.category == UNCHECKED:
            return say.html("error.check_out_of_order")
        return say.html("error.content_refused", category=category(say, problem.category))
    if problem.code == "invalid_request":
        return _faults(say, problem)
    if problem.code == "rate_limited" and wait_s is not None and wait_s > _LONG_WAIT_S:
        return say.html("error.rate_limited_for", time=_approximate(say, wait_s))
    key = f"error.{problem.code}"
    return say.html(key if say.has(key) else "error.internal", code=code)


def _faults(say: Language, problem: Problem) -> Markup:
    """Name the wrong fields as people know them, with the allowed values if they are a list."""
    lines: dict[str, str] = {}
    for fault in problem.errors:
        if say.has(f"field.{fault.field}"):
            allowed = ", ".join(fault.allowed) if isinstance(fault.allowed, list) else ""
            key = "field.allowed" if allowed else "field.wrong"
            field = say.html(f"field.{fault.field}")
            lines.setdefault(field, say.html(key, field=field, allowed=allowed))
    if not lines:
        return say.html("error.invalid_request")
    return say.html("error.invalid_fields", faults=Markup("\n".join(lines.values())))


def category(say: Language, refused: str | None) -> str:
    """Name a category that the backend refused."""
    key = f"category.{refused}"
    return say.plain(key if say.has(key) else "category.other")


def code_of(job: UUID) -> str:
    """Return the short code that a person reports and an operator searches the logs for."""
    return job.hex[:6].upper()


def not_taken(say: Language, job: UUID) -> View:
    """Show that Telegram takes the picture neither as a photo nor as a file."""
    retry = Button(say.plain("button.png"), JobPress(job, "png"))
    return View(say.html("job.not_taken", code=code_of(job)), ((retry,),), blank=True)


def _with(say: Language, text: Markup, prompt: str) -> Markup:
    return Markup(f"{text}\n{quote(say, prompt)}") if prompt else text


def _queued(say: Language, generation: Generation) -> str:
    position = shown_position(generation.position)
    if position is None:
        return say.html("job.queued")
    suffix = _suffix(position) if say.code == "en" else ""
    ordinal = say.plain("job.ordinal", position=f"{position}{suffix}")
    left = generation.estimated_seconds
    if not left:
        return say.html("job.queued_at", position=ordinal)
    return say.html("job.queued_for", position=ordinal, time=_approximate(say, left))


def _suffix(n: int) -> str:
    if 10 <= n % 100 <= 20:
        return "th"
    endings: Mapping[int, str] = {1: "st", 2: "nd", 3: "rd"}
    return endings.get(n % 10, "th")


def _approximate(say: Language, seconds: float) -> str:
    if seconds < 50:
        return say.plain("time.seconds", n=max(5, math.ceil(seconds / 5) * 5))
    return say.plain("time.minutes", n=max(1, round(seconds / 60)))


def _seconds(say: Language, seconds: float) -> str:
    if seconds < 90:
        return say.plain("time.s", seconds=f"{max(1, round(seconds))}")
    return say.plain("time.min", minutes=f"{round(seconds / 60)}")
