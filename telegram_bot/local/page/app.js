// The page as a whole: the current person and chat, and live events.

import { $, el, get, post, toast } from "/page/api.js";
import * as composer from "/page/composer.js";
import * as inspector from "/page/inspector.js";
import * as messages from "/page/messages.js";
import { clock, label, speak, t } from "/page/texts.js";

const REFRESH_MS = 4000;
const ACTION_MS = 5500;
const MAX_PEOPLE = 6;
const drawn = new Map();
const narrow = matchMedia("(max-width: 760px)");
const remembered = JSON.parse(sessionStorage.getItem("place") ?? "{}");

const context = {
  me: { id: remembered.user ?? 1001 },
  chatId: remembered.chat ?? remembered.user ?? 1001,
  commands: [],
  state: null,
  isGroup: () => context.chatId < 0,
  say: (words) => composer.say(words),
  replyTo: (message) => composer.replyTo(message),
  refresh,
};
let acting = null;
let lost = false;

async function refresh() {
  const state = await get("state", { user_id: context.me.id, chat_id: context.chatId });
  if (state.me.id !== context.me.id) return;
  if (state.me.language_code !== context.me.language_code) {
    speak(state.me.language_code);
    inspector.speak();
  }
  context.state = state;
  context.me = Object.assign(context.me, state.me);
  context.commands = state.commands;
  drawPeople();
  drawChats();
  drawHead();
  inspector.waiting(state.faults);
  inspector.hooks(state.hooks);
}

async function load() {
  await refresh();
  await messages.load();
  drawWelcome();
  composer.showKeyboard();
}

async function enter(user, chat) {
  context.me = { id: user };
  context.chatId = chat;
  sessionStorage.setItem("place", JSON.stringify({ user, chat }));
  acting = null;
  composer.reset();
  await load();
}

// Redraw a list only if it changed, and keep the keyboard focus.
function redraw(list, shown, draw) {
  const key = JSON.stringify([shown, context.me.id, context.chatId, document.documentElement.lang]);
  if (drawn.get(list) === key) return;
  drawn.set(list, key);
  const buttons = () => [...list.querySelectorAll("button")];
  const held = buttons().indexOf(document.activeElement);
  list.replaceChildren(...shown.map(draw));
  if (held >= 0) buttons()[held]?.focus();
}

function drawPeople() {
  redraw($("people"), context.state.people.slice(0, MAX_PEOPLE), personButton);
  $("language").value = context.me.language_code.startsWith("ru") ? "ru" : "en";
}

function personButton(person) {
  const here = person.id === context.me.id;
  const chat = context.chatId < 0 ? context.chatId : person.id;
  return el(
    "button",
    { type: "button", "aria-pressed": String(here), onclick: () => here || enter(person.id, chat) },
    el("span", { class: `face f${person.id % 5}`, "aria-hidden": "true" }, [...person.first_name][0]),
    person.first_name,
  );
}

function drawChats() {
  redraw($("chats"), context.state.chats, chatItem);
}

function chatItem(chat) {
  const here = chat.id === context.chatId;
  const name = chat.title ?? context.state.bot.name;
  const last = chat.last;
  const text = last ? `${last.from.is_bot || chat.private ? "" : `${last.from.first_name}: `}${messages.summary(last)}` : t("nothing");
  const face = chat.private
    ? el("img", { src: "/page/easel.svg", alt: "", width: 46, height: 46 })
    : el("span", { class: "face f4 large", "aria-hidden": "true" }, "G");
  const open = async () => {
    if (!here) await enter(context.me.id, chat.id);
    view("chat");
  };
  return el(
    "li",
    {},
    el(
      "button",
      { type: "button", "aria-current": here ? "true" : null, onclick: open },
      face,
      el("span", { class: "what" }, el("strong", {}, name), el("span", {}, text)),
      last ? el("time", {}, clock(last.edit_date ?? last.date)) : null,
    ),
  );
}

function drawHead() {
  const { bot, chats, me } = context.state;
  const chat = chats.find((c) => c.id === context.chatId);
  $("title").textContent = chat.title ?? bot.name;
  $("avatar").hidden = !chat.private;
  $("block").hidden = !chat.private;
  $("block").setAttribute("aria-pressed", String(me.blocked));
  label($("block"), t(me.blocked ? "unblock" : "block"));
  $("status").classList.toggle("active", Boolean(acting));
  $("status").classList.toggle("trouble", lost || !bot.online);
  $("status").textContent = statusOf(chat, bot, me);
}

function statusOf(chat, bot, me) {
  if (lost) return t("lost");
  if (me.blocked && chat.private) return t("blocked");
  if (acting) return t(acting) ?? t("typing");
  if (!bot.online) return t("offline");
  return chat.private ? t("online") : t("members", chat.members);
}

function drawWelcome() {
  const { bot } = context.state;
  $("welcome").hidden = context.isGroup() || messages.all().length > 0;
  $("welcomeName").textContent = bot.name;
  $("welcomeText").textContent = bot.description;
}

function act(action) {
  acting = action;
  drawHead();
  clearTimeout(act.timer);
  act.timer = setTimeout(() => act(null), action ? ACTION_MS : 1 << 30);
}

function onEvent(event) {
  const here = event.chat_id === context.chatId;
  switch (event.type) {
    case "message":
      if (here) {
        if (acting && event.message.from.is_bot) act(null);
        messages.show(event.message);
        composer.showKeyboard();
        drawWelcome();
      }
      updateChatList(event);
      break;
    case "deleted":
      if (here) messages.drop(event.message_id);
      break;
    case "action":
      if (here) act(event.action);
      break;
    case "call":
      inspector.add(event.call);
      break;
    case "reload":
      load();
      break;
    default:
      refresh();
  }
}

function updateChatList(event) {
  const chat = context.state.chats.find((c) => c.id === event.chat_id);
  if (!chat) return;
  if (!chat.last || chat.last.message_id <= event.message.message_id) chat.last = event.message;
  drawChats();
}

function listen() {
  const source = new EventSource("/chat/events");
  source.onopen = async () => {
    lost = false;
    await load();
    await inspector.load();
  };
  source.onmessage = (message) => context.state && onEvent(JSON.parse(message.data));
  source.onerror = () => {
    lost = true;
    if (context.state) drawHead();
  };
}

function view(name) {
  document.body.dataset.view = name;
}

function exportTranscript() {
  const lines = messages.all().map((m) => {
    const extras = [m.photo && `[${t("photo")} ${m.width}×${m.height}]`, m.document && `[${m.file_name}]`];
    const keys = m.buttons.map((row) => row.map((b) => `[${b.text}]`).join(" "));
    const edits = m.edits ? ` (${t("edited", m.edits)})` : "";
    const when = new Date(m.date * 1000).toISOString();
    return [`**${m.from.first_name}** ${when}${edits}`, ...extras.filter(Boolean), m.text ?? m.caption, ...keys].filter(Boolean).join("\n");
  });
  const text = `# ${$("title").textContent}\n\n${t("simulation")}\n\n${lines.join("\n\n")}\n`;
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type: "text/markdown" })), download: `easel-chat-${context.chatId}.md` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function setUp() {
  speak("en");
  inspector.setUp(context);
  inspector.speak();
  messages.setUp(context);
  composer.setUp(context);
  $("back").addEventListener("click", () => view("list"));
  $("begin").addEventListener("click", () => composer.say("/start"));
  $("export").addEventListener("click", exportTranscript);
  $("language").addEventListener("change", async () => {
    await post("people", { user_id: context.me.id, language_code: $("language").value });
    await load();
  });
  $("block").addEventListener("click", async () => {
    await post("people", { user_id: context.me.id, blocked: !context.me.blocked });
    await refresh();
  });
  $("viewer").addEventListener("click", (event) => event.target === $("viewer") && $("viewer").close());
  setInterval(() => refresh().catch(() => {}), REFRESH_MS);
  if (!narrow.matches) $("text").focus();
  listen();
}

addEventListener("unhandledrejection", (event) => toast(event.reason.message));
setUp();
