// Charts are SVG documents of the server. They are adopted as elements, and told about the pointer and the keys.

import { announce, h } from "./dom.js";
import { printable, share, value } from "./format.js";

/** Return the element of an SVG document. An XHR parses it, so no text is ever read as HTML. */
export function drawing(url) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", url);
    request.responseType = "document";
    request.overrideMimeType("image/svg+xml");
    request.onload = () => (request.status === 200 && request.responseXML ? resolve(request.responseXML.documentElement) : reject(new Error(`the chart was answered with ${request.status}`)));
    request.onerror = () => reject(new Error("the dashboard does not answer"));
    request.send();
  });
}

/** Return a figure with a chart, and what it shows of one bin in a tip: `data` has `bins`, `series` and `metric`. */
export function figure(drawn, data, onPick) {
  const svg = document.adoptNode(drawn);
  const tip = h("div", { class: "tip", hidden: true });
  const frame = h("div", { class: "figure", tabindex: "0", role: "group", "aria-label": `${svg.querySelector("title")?.textContent ?? "Chart"}. Arrow keys read the bins.` }, svg, tip);
  const places = bins(svg, data.bins.length);
  const guide = svg.querySelector("[data-step]") && svg.insertBefore(svg.ownerDocument.createElementNS(svg.namespaceURI, "rect"), svg.querySelector("[data-step]"));
  guide?.setAttribute("class", "guide");
  let current = -1;

  const show = (bin, speak) => {
    current = bin;
    tip.hidden = bin < 0;
    mark(bin);
    if (bin < 0) return;
    const isSum = data.metric !== "latency_ms";
    const rows = data.series.map((one, index) => ({ ...one, index, at: one.values[bin] })).filter((one) => one.at !== null && Number(one.at) !== 0);
    const total = rows.reduce((sum, one) => sum + Number(one.at), 0);
    const list = rows
      .sort((a, b) => Number(b.at) - Number(a.at))
      .flatMap((one) => [
        h("span", { class: `dot ${one.is_rest || one.index === 8 ? "rest" : `s${one.index % 8}`}` }),
        h("dt", {}, h("bdi", {}, printable(one.name))),
        h("dd", {}, value(data.metric, one.at), isSum && rows.length > 1 ? h("small", {}, share(Number(one.at), total)) : null),
      ]);
    const head = isSum ? `${printable(data.bins[bin])}: ${value(data.metric, total)}` : printable(data.bins[bin]);
    tip.replaceChildren(h("b", {}, head), h("dl", {}, list));
    const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    const x = places[bin] * scale;
    const room = frame.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(4, Math.min(x + 14 > room ? x - tip.offsetWidth - 14 : x + 14, room))}px`;
    if (speak) announce(`${head}. ${rows.slice(0, 3).map((one) => `${printable(one.name)} ${value(data.metric, one.at)}`).join(", ")}`);
  };
  /** Shade the bin that is read. */
  const mark = (bin) => {
    if (!guide) return;
    const { left, step, top, bottom } = svg.querySelector("[data-step]").dataset;
    const box = bin < 0 ? [0, 0, 0, 0] : [Number(left) + Number(step) * bin, Number(top), Number(step), Number(bottom) - Number(top)];
    ["x", "y", "width", "height"].forEach((name, index) => guide.setAttribute(name, String(box[index])));
  };
  const nearest = (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    return places.reduce((best, place, bin) => (Math.abs(place - x) < Math.abs(places[best] - x) ? bin : best), 0);
  };
  frame.addEventListener("pointermove", (event) => places.length && show(nearest(event), false));
  frame.addEventListener("pointerleave", () => show(-1, false));
  frame.addEventListener("blur", () => show(-1, false));
  frame.addEventListener("keydown", (event) => {
    const last = data.bins.length - 1;
    const next = { ArrowRight: Math.min(current + 1, last), ArrowLeft: Math.max(current - 1, 0), Home: 0, End: last }[event.key];
    if (next === undefined || last < 0) return;
    event.preventDefault();
    show(next, true);
  });
  frame.addEventListener("click", (event) => {
    const part = event.target.closest("[data-series]");
    const one = part && data.series[Number(part.dataset.series)];
    if (one && !one.is_rest) onPick(one.name, event.shiftKey);
  });
  return frame;
}

/** The horizontal middle of each bin, in the units of the chart. */
function bins(svg, length) {
  const { left, step } = svg.querySelector("[data-step]")?.dataset ?? { left: 0, step: svg.viewBox.baseVal.width / Math.max(length, 1) };
  return Array.from({ length }, (_, bin) => Number(left) + Number(step) * (bin + 0.5));
}
