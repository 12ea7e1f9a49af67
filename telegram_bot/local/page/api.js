// Calls to the local Telegram's JSON interface, and small DOM helpers.

export const $ = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

async function request(path, options) {
  const response = await fetch(path, options);
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  throw new Error(body.detail ?? response.statusText);
}

const query = (values) =>
  new URLSearchParams(Object.entries(values).filter(([, value]) => value !== undefined));

export const get = (path, values = {}) => request(`/chat/${path}?${query(values)}`);

export const post = (path, body) =>
  request(`/chat/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });

export const remove = (path) => request(`/chat/${path}`, { method: "DELETE" });

export const asDataUrl = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });

let hiding;
export function toast(text) {
  const node = $("toast");
  node.textContent = text;
  node.classList.add("shown");
  clearTimeout(hiding);
  hiding = setTimeout(() => node.classList.remove("shown"), 3500);
}

export function warn(text) {
  $("alertText").textContent = text;
  if (!$("alert").open) $("alert").showModal();
}

let announced;
// Announce at most once a second, so that a progress bar does not flood screen readers.
export function announce(text) {
  clearTimeout(announced);
  announced = setTimeout(() => ($("live").textContent = text), 1000);
}
