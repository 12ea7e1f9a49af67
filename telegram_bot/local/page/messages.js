// Message bubbles: albums, buttons, edits.

import { $, announce, el, get, post, toast, warn } from "/page/api.js";
import { formatted } from "/page/entities.js";
import { clock, day, label, t } from "/page/texts.js";

const NEAR_END = 120;
const MAX_HEIGHT = 460;
const MIN_WIDTH = 230;
const ICONS = {
  copy: '<rect x="9" y="9" width="11" height="11" rx="2.500"/><path d="M5 15V6.500A2.500 2.500 0 017.500 4H15"/>',
  url: '<path d="M7 17L17 7M9 7h8v8"/>',
};
const list = $("messages");
const scroll = $("scroll");
const known = new Map();
let context;
let unread = 0;
let stuck = true;

export function setUp(shared) {
  context = shared;
  scroll.addEventListener("scroll", () => {
    stuck = atEnd();
    if (stuck) read();
    else $("down").hidden = false;
  });
  const watch = new ResizeObserver(() => stuck && toEnd());
  watch.observe(list);
  watch.observe(scroll);
  $("down").addEventListener("click", toEnd);
}

export const all = () => [...known.values()];

export async function load() {
  const { me, chatId } = context;
  const messages = await get("messages", { user_id: me.id, chat_id: chatId });
  if (me !== context.me || chatId !== context.chatId) return;
  known.clear();
  list.replaceChildren();
  for (const message of messages) place(message);
  read();
  toEnd();
}

export function show(message) {
  const before = known.get(message.message_id);
  place(message, before);
  if (message.from.is_bot) announce(`${before ? `${t("changed")}: ` : ""}${summary(message)}`);
  if (before && before.edits === message.edits) return;
  if (stuck || message.from.id === context.me.id) toEnd();
  else if (!before) $("unread").textContent = ++unread;
}

export function drop(id) {
  const message = known.get(id);
  if (!message) return;
  known.delete(id);
  const node = find(keyOf(message));
  const rest = siblings(message);
  if (rest.length) node.replaceWith(build(rest, false));
  else node.remove();
}

export const summary = (message) =>
  message.text ?? message.caption ?? (message.photo ? t("photo") : message.file_name ?? t("file"));

const atEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_END;

export function toEnd() {
  stuck = true;
  scroll.scrollTop = scroll.scrollHeight;
}

function read() {
  unread = 0;
  $("unread").textContent = "";
  $("down").hidden = true;
}

const keyOf = (message) =>
  message.media_group_id ? `g${message.media_group_id}` : `m${message.message_id}`;
const find = (key) => list.querySelector(`[data-key="${key}"]`);
const siblings = (message) => all().filter((other) => keyOf(other) === keyOf(message));

function place(message, before) {
  known.set(message.message_id, message);
  const key = keyOf(message);
  const old = find(key);
  const node = build(siblings(message), Boolean(before) && before.edits !== message.edits);
  if (!old) {
    separate(message);
    list.append(node);
    return;
  }
  const held = old.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  coverWhileLoading(old, node);
  old.replaceWith(node);
  if (held) node.querySelector(`[data-focus="${CSS.escape(held)}"]`)?.focus();
}

function separate(message) {
  const name = day(message.date);
  const last = [...list.querySelectorAll(".day")].at(-1);
  if (last?.textContent !== name) list.append(el("li", { class: "day" }, name));
}

// Keep showing the old preview until the new one has loaded, to avoid flicker.
function coverWhileLoading(old, node) {
  const before = old.querySelector(".photo img");
  const after = node.querySelector(".photo img");
  if (!before || !after || before.getAttribute("src") === after.getAttribute("src")) return;
  const cover = before.cloneNode();
  cover.className = "cover";
  cover.alt = "";
  after.parentElement.append(cover);
  after.addEventListener("load", () => cover.remove(), { once: true });
}

function build(messages, flash) {
  const head = messages[0];
  const mine = head.from.id === context.me.id;
  const texted = messages.find((m) => m.text ?? m.caption) ?? head;
  const bare = !texted.text && !texted.caption && messages.some((m) => m.photo);
  const bubble = el(
    "div",
    { class: `bubble${flash ? " flash" : ""}${bare ? " bare" : ""}` },
    el("p", { class: context.isGroup() && !mine ? "name" : "unseen" }, head.from.first_name),
    head.reply_to ? quote(head.reply_to) : null,
    ...media(messages),
    textOf(texted),
    meta(messages.at(-1)),
  );
  fit(bubble, messages);
  return el(
    "li",
    { class: `message ${mine ? "mine" : "theirs"}`, "data-key": keyOf(head) },
    el("div", { class: "column" }, el("div", { class: "line" }, bubble, replyButton(head)), buttons(messages.at(-1))),
  );
}

// Show a tall image whole: limit the width of its bubble so that the height fits.
function fit(bubble, [message, ...others]) {
  if (others.length || !message.photo || message.height <= message.width) return;
  const width = Math.round((MAX_HEIGHT * message.width) / message.height);
  bubble.style.maxWidth = `${Math.max(MIN_WIDTH, width)}px`;
}

function quote(reply) {
  const text = reply.text || t(reply.media ?? "message");
  return el("div", { class: "quote" }, el("strong", {}, reply.from), el("p", {}, text));
}

function media(messages) {
  const photos = messages.filter((m) => m.photo);
  const documents = messages.filter((m) => m.document);
  const nodes = documents.map(file);
  if (photos.length > 1) nodes.push(el("div", { class: `album n${photos.length}` }, ...photos.map(photo)));
  else if (photos.length) nodes.push(photo(photos[0]));
  return nodes;
}

function photo(message) {
  const name = message.caption ? `${t("photo")}: ${message.caption}` : t("photo");
  const image = el("img", { src: message.photo, alt: name, width: message.width, height: message.height });
  const open = () => {
    $("viewed").src = message.photo;
    $("viewed").alt = name;
    $("viewer").showModal();
  };
  const spoiler = message.spoiler ? " hidden-photo" : "";
  return el(
    "button",
    { type: "button", class: `photo${spoiler}`, "data-focus": `photo${message.message_id}`, onclick: open },
    image,
  );
}

function file(message) {
  const size = message.file_size < 1e6 ? `${Math.ceil(message.file_size / 1e3)} kB` : `${(message.file_size / 1e6).toFixed(1)} MB`;
  const type = message.file_name.split(".").at(-1).slice(0, 4).toUpperCase();
  const icon = message.thumbnail
    ? el("img", { src: message.thumbnail, alt: "", class: "thumb" })
    : el("span", { class: "thumb", "aria-hidden": "true" }, type);
  return el(
    "a",
    { class: "file", href: message.document, download: message.file_name, "data-focus": "file" },
    icon,
    el("span", {}, el("strong", {}, message.file_name), el("small", {}, size)),
  );
}

function textOf(message) {
  const text = message.text ?? message.caption;
  if (!text) return null;
  return el("div", { class: "text" }, ...formatted(text, message.entities, context.say));
}

function meta(message) {
  const notes = message.reactions.map((emoji) => el("span", { class: "reaction" }, emoji));
  if (message.edits) {
    notes.push(el("span", { class: "edits", title: t("editedLong", message.edits) }, t("edited", message.edits)));
  }
  return el("p", { class: "meta" }, ...notes, el("time", {}, clock(message.date)));
}

function replyButton(message) {
  const node = el("button", { type: "button", class: "icon reply", onclick: () => context.replyTo(message) });
  node.innerHTML = '<svg viewBox="0 0 24 24"><path d="M10 7l-6 5 6 5v-3.500c5 0 8 1 10 4 0-5-3-8-10-8z"/></svg>';
  label(node, t("reply"));
  return node;
}

function buttons(message) {
  if (!message.buttons.length) return null;
  const rows = message.buttons.map((row) => el("div", { class: "row" }, ...row.map((b) => button(message, b))));
  return el("div", { class: "buttons" }, ...rows);
}

function button(message, spec) {
  const kind = spec.copy_text ? "copy" : spec.url ? "url" : "data";
  return el(
    "button",
    {
      type: "button",
      class: `key ${spec.style ?? ""} ${kind}`,
      "data-focus": `key${spec.data ?? spec.text}`,
      onclick: (event) => press(event.currentTarget, message, spec),
    },
    spec.text,
    ICONS[kind] ? corner(ICONS[kind]) : null,
  );
}

function corner(path) {
  const node = el("span", { class: "corner", "aria-hidden": "true" });
  node.innerHTML = `<svg viewBox="0 0 24 24">${path}</svg>`;
  return node;
}

async function press(node, message, spec) {
  if (spec.copy_text) {
    await navigator.clipboard.writeText(spec.copy_text);
    toast(`${t("copied")}: ${spec.copy_text}`);
    return;
  }
  if (spec.url) {
    window.open(spec.url, "_blank", "noopener,noreferrer");
    return;
  }
  node.setAttribute("aria-busy", "true");
  try {
    const { me, chatId } = context;
    const answer = await post("press", {
      user_id: me.id,
      chat_id: chatId,
      message_id: message.message_id,
      button: spec.data ?? spec.text,
    });
    if (answer.answered === false) toast(t("noAnswer"));
    else if (answer.answer) (answer.alert ? warn : toast)(answer.answer);
  } catch (error) {
    toast(error.message);
  } finally {
    node.removeAttribute("aria-busy");
  }
}
