// Makes elements. Text is always set as text, never read as HTML.

/** Return an element. Attributes: `on…` are listeners, `true` is an attribute without a value, `null` and `false` are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return the element with an id. */
export const $ = (id) => document.getElementById(id);

/** Fill a select with pairs of value and text, and choose one. */
export function fill(select, pairs, chosen) {
  select.replaceChildren(...pairs.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
}

/** Tell screen readers. */
export function announce(text) {
  $("live").textContent = text;
}

/** Show the dialog with a title and content. */
export function showDialog(title, ...content) {
  const dialog = $("dialog");
  const close = h("button", { class: "quiet round", type: "button", "aria-label": "Close", onclick: () => dialog.close() }, "×");
  dialog.replaceChildren(h("header", {}, h("h2", { id: "dialog-title" }, title), close), ...content);
  if (!dialog.open) dialog.showModal();
  return dialog;
}
