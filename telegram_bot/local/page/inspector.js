// The side panel: the bot's calls, faults to order, hooks to run.

import { $, el, get, post, remove, toast } from "/page/api.js";
import { t } from "/page/texts.js";

const MAX_CALLS = 300;
const METHODS = ["sendMessage", "sendPhoto", "sendDocument", "sendMediaGroup", "sendChatAction", "editMessageText", "editMessageMedia", "editMessageCaption", "deleteMessage", "answerCallbackQuery", "getFile", "getUpdates"];
const FAULTS = [
  ["429", "fault429"],
  ["502", "fault502"],
  ["timeout", "faultTimeout"],
  ["slow", "faultSlow"],
  ["403", "fault403"],
  ["401", "fault401"],
  ["photo_refused", "faultPhoto"],
  ["duplicate_update", "faultDuplicate"],
  ["stale_update", "faultStaleUpdate"],
  ["stale_callback", "faultStaleCallback"],
];
let context;

export function setUp(shared) {
  context = shared;
  $("inspect").addEventListener("click", () => open($("panel").hidden));
  $("closePanel").addEventListener("click", () => open(false));
  for (const tab of [$("tabCalls"), $("tabFaults")]) {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      const other = tab === $("tabCalls") ? $("tabFaults") : $("tabCalls");
      choose(other);
      other.focus();
    });
  }
  $("panel").addEventListener("keydown", (event) => event.key === "Escape" && open(false));
  $("filter").addEventListener("input", filter);
  $("clearFaults").addEventListener("click", async () => waiting((await remove("faults")).waiting));
}

export function speak() {
  const method = $("faultMethod").value || "*";
  $("faultMethod").replaceChildren(
    el("option", { value: "*" }, t("anyMethod")),
    ...METHODS.map((name) => el("option", { value: name }, name)),
  );
  $("faultMethod").value = method;
  $("faultButtons").replaceChildren(...FAULTS.map(([fault, key]) => faultButton(fault, t(key))));
}

export async function load() {
  const calls = await get("calls");
  $("calls").replaceChildren();
  calls.forEach(add);
}

export function add(call) {
  const node = el(
    "li",
    { "data-method": call.method.toLowerCase() },
    el("details", { ontoggle: (event) => fill(event.currentTarget, call) }, headline(call)),
  );
  node.hidden = !matches(node);
  $("calls").prepend(node);
  $("noCalls").hidden = true;
  while ($("calls").children.length > MAX_CALLS) $("calls").lastChild.remove();
}

function headline(call) {
  const time = new Date(call.at * 1000).toLocaleTimeString("en-GB");
  const good = call.status < 400;
  return el(
    "summary",
    { class: good ? "good" : "bad" },
    el("span", { class: "code" }, String(call.status)),
    el("strong", {}, call.method),
    call.fault ? el("mark", {}, call.fault) : null,
    el("small", {}, `${call.ms} ms · ${time}`),
  );
}

function fill(details, call) {
  if (!details.open || details.querySelector("pre")) return;
  const json = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
  details.append(el("pre", { class: "sent", tabindex: "0" }, json(call.request)), el("pre", { tabindex: "0" }, json(call.response)));
}

const matches = (node) => node.dataset.method.includes($("filter").value.trim().toLowerCase());

function filter() {
  for (const node of $("calls").children) node.hidden = !matches(node);
}

function open(shown) {
  $("panel").hidden = !shown;
  $("inspect").setAttribute("aria-expanded", String(shown));
  (shown ? $("tabCalls") : $("inspect")).focus();
}

function choose(tab) {
  for (const other of [$("tabCalls"), $("tabFaults")]) {
    const selected = other === tab;
    other.setAttribute("aria-selected", String(selected));
    other.tabIndex = selected ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = !selected;
  }
}

function faultButton(fault, [name, what]) {
  return el("button", { type: "button", "data-fault": fault, onclick: () => order(fault) }, el("strong", {}, name), el("small", {}, what));
}

async function order(fault) {
  try {
    const answer = await post("fault", {
      fault,
      method: $("faultMethod").value,
      count: $("faultCount").valueAsNumber || 1,
      seconds: $("faultSeconds").valueAsNumber || 5,
    });
    waiting(answer.waiting);
  } catch (error) {
    toast(error.message);
  }
}

export function waiting(faults) {
  $("waiting").hidden = !faults.length;
  $("waitingList").replaceChildren(
    ...faults.map((f) => el("li", {}, `${f.fault} · ${f.method === "*" ? t("anyMethod") : f.method} · ${f.count}×`)),
  );
}

export function hooks(names) {
  $("hooks").hidden = !names.length;
  if ($("hookButtons").dataset.names === names.join()) return;
  $("hookButtons").dataset.names = names.join();
  $("hookButtons").replaceChildren(
    ...names.map((name) => el("button", { type: "button", onclick: (event) => run(event.currentTarget, name) }, el("strong", {}, name))),
  );
}

async function run(button, name) {
  const output = $("hookOutput");
  output.hidden = false;
  output.textContent = t("running");
  button.disabled = true;
  try {
    const { exit, output: text } = await post("hook", { name });
    output.textContent = `${text}\n${t("finished")} ${exit}`;
  } catch (error) {
    output.textContent = error.message;
  } finally {
    button.disabled = false;
    context.refresh();
  }
}
