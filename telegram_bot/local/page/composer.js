// Compose messages: text, commands, photos, files and replies.

import { $, asDataUrl, el, post, toast } from "/page/api.js";
import * as messages from "/page/messages.js";
import { label, t } from "/page/texts.js";

const MAX_ALBUM = 10;
const text = $("text");
let context;
let files = [];
let replied = null;
let highlighted = 0;

export function setUp(shared) {
  context = shared;
  $("form").addEventListener("submit", submit);
  text.addEventListener("input", typed);
  text.addEventListener("keydown", keyed);
  text.addEventListener("paste", (event) => take(event.clipboardData.files, event));
  $("menu").addEventListener("click", () => toggleCommands());
  $("attach").addEventListener("click", () => $("picker").click());
  $("picker").addEventListener("change", () => {
    take($("picker").files);
    $("picker").value = "";
  });
  $("noReply").addEventListener("click", () => replyTo(null));
  setUpDrop();
}

function setUpDrop() {
  const main = document.querySelector(".chat");
  main.addEventListener("dragover", (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    $("drop").hidden = false;
  });
  main.addEventListener("dragleave", (event) => {
    if (!main.contains(event.relatedTarget)) $("drop").hidden = true;
  });
  main.addEventListener("drop", (event) => {
    $("drop").hidden = true;
    take(event.dataTransfer.files, event);
  });
}

export function reset() {
  files = [];
  text.value = "";
  replyTo(null);
  showFiles();
  grow();
  hideCommands();
}

export function replyTo(message) {
  replied = message;
  $("replying").hidden = !message;
  if (!message) return;
  $("replyName").textContent = message.from.first_name;
  $("replyText").textContent = messages.summary(message);
  text.focus();
}

export async function say(words) {
  await deliver({ text: words });
}

export function showKeyboard() {
  const keyboard = messages.all().findLast((m) => m.from.is_bot && m.keyboard)?.keyboard;
  const rows = keyboard?.keyboard ?? [];
  $("keyboard").hidden = !rows.length;
  $("keyboard").replaceChildren(
    ...rows.map((row) =>
      el("div", { class: "row" }, ...row.map((b) => el("button", { type: "button", class: "key", onclick: () => say(b.text) }, b.text))),
    ),
  );
}

async function deliver(body) {
  const { me, chatId } = context;
  try {
    await post("send", { user_id: me.id, chat_id: chatId, reply_to: replied?.message_id, ...body });
    replyTo(null);
    return true;
  } catch (error) {
    toast(error.message);
    return false;
  }
}

async function submit(event) {
  event.preventDefault();
  const words = text.value.trim();
  if (!words && !files.length) return;
  const sent = files.length ? await sendFiles(words) : await deliver({ text: words });
  if (!sent) return;
  text.value = "";
  files = [];
  showFiles();
  grow();
  hideCommands();
}

async function sendFiles(caption) {
  const asFile = $("asFile").checked;
  const photos = files.filter((file) => !asFile && isPhoto(file));
  const others = files.filter((file) => asFile || !isPhoto(file));
  let sent = true;
  let words = caption;
  if (photos.length) {
    sent = await deliver({ photos: await Promise.all(photos.map(asDataUrl)), caption: words });
    words = "";
  }
  for (const file of others) {
    sent = sent && (await deliver({ document: await asDataUrl(file), file_name: file.name, caption: words }));
    words = "";
  }
  return sent;
}

const isPhoto = (file) => /^image\/(png|jpe?g|webp|bmp)$/.test(file.type);

function take(list, event) {
  if (!list.length) return;
  event?.preventDefault();
  files = [...files, ...list].slice(0, MAX_ALBUM);
  showFiles();
  text.focus();
}

function showFiles() {
  $("attached").hidden = !files.length;
  $("files").replaceChildren(...files.map(fileItem));
}

function fileItem(file) {
  const remove = el("button", {
    type: "button",
    class: "icon",
    onclick: () => {
      files = files.filter((other) => other !== file);
      showFiles();
    },
  });
  remove.innerHTML = '<svg viewBox="0 0 24 24"><path d="M7 7l10 10M17 7L7 17"/></svg>';
  label(remove, `${t("close")}: ${file.name}`);
  if (!isPhoto(file)) return el("li", {}, el("span", { class: "thumb" }, file.name), remove);
  const image = el("img", { src: URL.createObjectURL(file), alt: file.name });
  image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
  return el("li", {}, image, remove);
}

function grow() {
  text.style.height = "";
  if (!text.scrollHeight) return; // hidden: keep the height of the style sheet
  text.style.height = `${Math.min(text.scrollHeight + 2, 160)}px`;
}

function typed() {
  grow();
  const word = text.value;
  if (/^\/\w*$/.test(word)) showCommands(word.slice(1));
  else hideCommands();
}

function keyed(event) {
  const open = !$("commands").hidden;
  const options = [...$("commands").children];
  if (open && ["ArrowDown", "ArrowUp"].includes(event.key)) {
    event.preventDefault();
    highlight((highlighted + (event.key === "ArrowDown" ? 1 : -1) + options.length) % options.length);
  } else if (open && event.key === "Escape") {
    hideCommands();
  } else if (open && (event.key === "Tab" || event.key === "Enter") && options.length && !event.shiftKey) {
    event.preventDefault();
    options[highlighted].click();
  } else if (event.key === "Escape" && replied) {
    replyTo(null);
  } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("form").requestSubmit();
  }
}

function toggleCommands() {
  if ($("commands").hidden) showCommands("");
  else hideCommands();
  text.focus();
}

function showCommands(prefix) {
  const matching = context.commands.filter((command) => command.command.startsWith(prefix));
  $("commands").replaceChildren(...matching.map(commandItem));
  $("commands").hidden = !matching.length;
  $("menu").setAttribute("aria-expanded", String(matching.length > 0));
  if (matching.length) highlight(0);
}

function hideCommands() {
  $("commands").hidden = true;
  $("menu").setAttribute("aria-expanded", "false");
  text.removeAttribute("aria-activedescendant");
}

function commandItem({ command, description }, index) {
  const run = () => {
    text.value = "";
    grow();
    hideCommands();
    say(`/${command}`);
    text.focus();
  };
  return el(
    "li",
    { role: "option", id: `command${index}`, onclick: run, onpointermove: () => highlight(index) },
    el("code", {}, `/${command}`),
    el("span", {}, description),
  );
}

function highlight(index) {
  highlighted = index;
  [...$("commands").children].forEach((item, i) => item.setAttribute("aria-selected", String(i === index)));
  text.setAttribute("aria-activedescendant", `command${index}`);
}
