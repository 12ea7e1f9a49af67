// Turn text with entities into DOM nodes. Offsets are UTF-16 code units, as in JavaScript strings.

import { el } from "/page/api.js";

const TAGS = {
  bold: "strong",
  italic: "em",
  underline: "u",
  strikethrough: "s",
  code: "code",
  pre: "pre",
  blockquote: "blockquote",
  expandable_blockquote: "blockquote",
};

export function formatted(text, entities, act) {
  const sorted = [...entities].sort((a, b) => a.offset - b.offset || b.length - a.length);
  return span(text, 0, text.length, sorted, act);
}

function span(text, from, to, entities, act) {
  const nodes = [];
  let at = from;
  let index = 0;
  while (index < entities.length) {
    const entity = entities[index];
    const end = Math.min(entity.offset + entity.length, to);
    let next = index + 1;
    while (next < entities.length && entities[next].offset < end) next += 1;
    if (entity.offset >= at) {
      if (entity.offset > at) nodes.push(text.slice(at, entity.offset));
      const inner = span(text, entity.offset, end, entities.slice(index + 1, next), act);
      nodes.push(wrapped(entity, text.slice(entity.offset, end), inner, act));
      at = end;
    }
    index = next;
  }
  if (at < to) nodes.push(text.slice(at, to));
  return nodes;
}

function wrapped(entity, word, inner, act) {
  switch (entity.type) {
    case "bot_command":
      return el("button", { type: "button", class: "inline", onclick: () => act(word) }, ...inner);
    case "url":
    case "text_link": {
      const href = entity.url ?? (/^https?:/i.test(word) ? word : `http://${word}`);
      if (!/^https?:/i.test(href)) return el("span", { class: "link", title: href }, ...inner);
      return el("a", { href, target: "_blank", rel: "noopener noreferrer", title: href }, ...inner);
    }
    case "spoiler":
      return el(
        "button",
        { type: "button", class: "spoiler", onclick: (e) => e.currentTarget.classList.add("open") },
        ...inner,
      );
    case "mention":
    case "hashtag":
    case "email":
    case "text_mention":
      return el("span", { class: "link" }, ...inner);
    default:
      return el(TAGS[entity.type] ?? "span", {}, ...inner);
  }
}
