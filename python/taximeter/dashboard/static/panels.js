// The panels. Each takes its section, the answer of the server and the page's tools, and fills the section.

import { drawing, figure } from "./charts.js";
import { h, showDialog } from "./dom.js";
import { amounts, count, csv, duration, durations, inUnit, moment, money, printable, range, share, short, shown, value, when } from "./format.js";
import { filterBy } from "./state.js";

const pick = (field) => (given, event) => filterBy(field, given, event?.shiftKey ?? false);

function head(title, ...tools) {
  return h("header", {}, h("h2", {}, title), h("div", { class: "tools" }, tools));
}

/** Say in a panel why it has no answer. */
export function failed(section, error, again) {
  const title = section.getAttribute("aria-label");
  section.replaceChildren(
    head(title),
    h("p", { class: "problem", role: "alert" }, printable(error.message)),
    h("p", { class: "more" }, h("button", { type: "button", onclick: again }, "Try again")),
  );
}

/** A link that saves a table as CSV. `rows` are an array, or a function that returns one when they are saved. */
function saveCsv(name, columns, rows) {
  const save = () => {
    const url = URL.createObjectURL(new Blob([csv(columns, typeof rows === "function" ? rows() : rows)], { type: "text/csv" }));
    h("a", { href: url, download: `taximeter-${name}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  };
  return h("button", { type: "button", onclick: save }, "CSV");
}

const saveJson = (url, name) => h("a", { href: url, download: `taximeter-${name}.json` }, "JSON");

const saveSvg = (url, name) => h("a", { href: url, download: `taximeter-${name}.svg` }, "SVG");

/** A table. A column is {title, cell, number, class}; a row's first cell may filter. */
function table(columns, rows, caption) {
  const cell = (column, row) => {
    const content = column.cell(row);
    return h("td", { class: [column.number ? "number" : "", column.class ?? ""].join(" ").trim() || null, title: column.exact?.(row) }, content);
  };
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      {},
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col", class: [column.number ? "number" : "", ...["narrow", "slim"].filter((name) => column.class?.includes(name))].join(" ").trim() || null }, column.title)))),
      h("tbody", {}, rows.map((row) => h("tr", { class: row.class ?? null }, columns.map((column) => cell(column, row))))),
    ),
  );
}

const named = (field, title = field) => ({
  title,
  class: "key",
  cell: (row) => h("button", { class: "plain", type: "button", title: `${printable(row[field] ?? "")}\nClick filters, Shift and click excludes.`, onclick: (event) => pick(field)(row[field], event) }, h("bdi", {}, shown(row[field]))),
});
/** The cost of a row: at least what is known, or unknown if nothing is. */
const costOf = (row) => (row.unpriced && Number(row.cost_usd) === 0 ? "unknown" : `${row.unpriced ? "≥ " : ""}${money(row.cost_usd)}`);
const COST = { title: "cost", number: true, cell: costOf, exact: (row) => `$${row.cost_usd}` };
/** The cost of each of some rows, with one number of decimals. */
function costs(rows) {
  const written = amounts(rows.map((row) => row.cost_usd));
  return { ...COST, cell: (row) => (row.unpriced && Number(row.cost_usd) === 0 ? "unknown" : `${row.unpriced ? "≥ " : ""}${written(row.cost_usd)}`) };
}
const CALLS = { title: "calls", number: true, cell: (row) => count(row.calls) };
const ERRORS = { title: "errors", number: true, class: "slim", cell: (row) => (row.errors ? share(row.errors, row.calls) : "–") };
const cached = { title: "cached", number: true, class: "narrow", cell: (row) => share(row.cache_read_tokens, row.input_tokens) };

function shareOf(metric, total) {
  return {
    title: "share",
    number: true,
    cell: (row) => [share(Number(row[metric]), Number(total[metric])), h("meter", { class: "share", min: 0, max: Number(total[metric]) || 1, value: Math.max(0, Number(row[metric])), "aria-hidden": "true" })],
  };
}

const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** How a sum differs from the period before. Only `isCost` has a colour: fewer calls are neither good nor bad. */
function delta(now, before, isCost = false) {
  if (before === null || before === undefined || Number(before) === 0) return null;
  const percent = (100 * (Number(now) - Number(before))) / Number(before);
  const text = percent > 999 ? "> +999 %" : `${percent > 0 ? "+" : ""}${percent.toFixed(Math.abs(percent) < 9.95 ? 1 : 0)} %`;
  return h("span", { class: isCost ? (percent > 5 ? "up" : percent < -5 ? "down" : null) : null }, text);
}

/** How a sum differs from that of the period of the same length before, which is written as `text`. */
function beside(now, before, text, isCost) {
  const change = delta(now, before, isCost);
  return h("span", { title: "the period of the same length before" }, change ? [change, ` from ${text}`] : `${text} before`);
}

const tile = (name, content, ...notes) => h("div", { class: "tile" }, h("p", { class: "name" }, name), h("p", { class: "value" }, content), h("p", { class: "note" }, notes.filter(Boolean)));

/** The tile of durations; `unknown` stands for those that are not there. */
function durationsTile({ latency_p95_ms: latency, ttft_p50_ms: first }, unknown) {
  const isKnown = latency !== undefined;
  const title = isKnown ? `latency p95 ${duration(latency)}, time to the first token p50 ${duration(first)}` : null;
  return tile("p95 / TTFT", h("span", { title }, isKnown ? durations(latency, first) : unknown), latency === null ? "no call has a latency" : "latency, first token");
}

export function tiles(section, data, tools) {
  const { total, before } = data;
  const saved = tools.lacks("cache_saved_usd") ? null : total.cache_saved_usd;
  const unpriced = () => document.getElementById("unpriced").scrollIntoView({ block: "center", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  const spend = total.calls && total.unpriced === total.calls ? "unknown" : `${total.unpriced ? "≥ " : ""}${money(total.cost_usd)}`;
  const sums = { ...total };
  // Durations take the server fifty times as long as sums, so they come with the panel of latencies.
  const late = durationsTile({}, "…");
  tools.durations.then(
    (found) => late.replaceWith(durationsTile(Object.assign(sums, found))),
    () => late.replaceWith(durationsTile({}, "–")),
  );
  const shownTiles = [
    tile("Spend", h("span", { title: `$${total.cost_usd}` }, spend), before && beside(total.cost_usd, before.cost_usd, money(before.cost_usd), true)),
    tile("This month", data.forecast_usd ? `${money(data.forecast_usd[0], true)}–${money(data.forecast_usd[1], true).slice(1)}` : "–", data.forecast_usd ? `expected, now ${money(data.last_hour_usd)}/h` : `now ${money(data.last_hour_usd)}/h`),
    tile("Calls", h("span", { title: count(total.calls) }, short(total.calls)), before && beside(total.calls, before.calls, short(before.calls))),
    tile("Errors", share(total.errors, total.calls), total.errors ? plural(total.errors, "call") : "none"),
    late,
    tile("Input from cache", share(total.cache_read_tokens, total.input_tokens), saved !== null && Number(saved) ? `${money(saved)} saved` : `of ${short(total.input_tokens)} tokens`),
    total.unpriced
      ? tile("Without a price", short(total.unpriced), h("button", { class: "plain warn", type: "button", onclick: unpriced }, "not in sums: show"))
      : tile("Without a price", "0", "every call has a cost"),
  ];
  const keys = [...Object.keys(total), "latency_p95_ms", "ttft_p50_ms"];
  const rows = () => [["period", sums], ...(before ? [["before", before]] : [])].map(([name, of]) => [name, ...keys.map((key) => of[key])]);
  section.replaceChildren(
    h("header", {}, h("p", { class: "note" }, `${data.since ? moment(data.since) : "The first call"} to ${data.until ? moment(data.until) : "now"}, ${data.timezone}`), h("div", { class: "tools" }, saveCsv("summary", ["of", ...keys], rows), saveJson(tools.api("summary"), "summary"))),
    h("div", { class: "tiles" }, shownTiles),
  );
}

/** Ask for the chart over time, `width` pixels wide. */
export const chart = (tools, width) => drawing(tools.url(`chart/${tools.isLatency ? "latency" : "series"}-part.svg`, { width: Math.max(280, Math.min(2400, Math.round(width) || 760)) }));
export const isTableShown = () => sessionStorage.getItem("series") === "table";

export async function series(section, data, tools) {
  const title = `${tools.metricName} ${data.by && data.by !== data.bin ? `by ${data.by}, ` : ""}per ${data.bin}`;
  const name = tools.isLatency ? "latency" : "series";
  const chartUrl = tools.url(`chart/${name}.svg`);
  const rows = data.bins.map((bin, index) => [bin, ...data.series.map((one) => one.values[index])]);
  const asTable = () => table([{ title: data.bin, cell: (row) => printable(row[0]) }, ...data.series.map((one, index) => ({ title: printable(one.name), number: true, cell: (row) => value(data.metric, row[index + 1]) }))], rows.toReversed(), title);
  const body = h("div", {});
  let isTable = isTableShown();
  const toggle = h("button", { type: "button", onclick: () => ((isTable = !isTable), sessionStorage.setItem("series", isTable ? "table" : ""), draw()) }, "table");
  const draw = async () => {
    toggle.setAttribute("aria-pressed", String(isTable));
    const early = tools.takeChart();
    if (!data.bins.length || !data.series.length) return body.replaceChildren(h("p", { class: "note" }, tools.isLatency ? "No call in this period has a latency." : "No calls in this period."));
    const onPick = (name, excluded) => data.by && filterBy(data.by, name === data.absent ? null : name, excluded);
    body.replaceChildren(isTable ? asTable() : figure(await (early ?? chart(tools, body.clientWidth)), data, onPick));
  };
  section.replaceChildren(head(title, toggle, saveCsv(name, [data.bin, ...data.series.map((one) => one.name)], rows), saveJson(tools.api(tools.isLatency ? "latency-series" : "series"), name), saveSvg(chartUrl, name)), body);
  await draw();
}

function ranking(section, data, tools, { title, field, name, more = [] }) {
  const metric = tools.metric;
  const rows = data.rows;
  const columns = [named(field), costs(rows), shareOf(metric, data.total), CALLS, ERRORS, ...more];
  const plain = [field, "cost_usd", "calls", "errors", "input_tokens", "output_tokens"];
  const others = data.other && h("p", { class: "note more" }, `${plural(data.groups - rows.length, "other")}: ${costOf(data.other)}, ${plural(data.other.calls, "call")} `, h("button", { class: "plain", type: "button", onclick: () => tools.more(name) }, h("u", {}, "show more")));
  section.replaceChildren(
    head(title, saveCsv(name, plain, rows.map((row) => plain.map((key) => row[key]))), saveJson(tools.api("top", { by: field, limit: 500 }), name), saveSvg(tools.url("chart/top.svg", { by: field, limit: rows.length || null }), name)),
    rows.length ? table(columns, rows, title) : h("p", { class: "note" }, "No calls in this period."),
    others || "",
  );
}

export const top = (section, data, tools) => ranking(section, data, tools, { title: `Top by ${data.by || "everything"}`, field: data.by, name: "top", more: [cached] });
export const customers = (section, data, tools) => ranking(section, data, tools, { title: "Customers", field: "customer", name: "customers" });

function simple(section, title, name, columns, data, tools, nothing) {
  const keys = Object.keys(data.rows[0] ?? {});
  section.replaceChildren(
    head(title, data.rows.length ? saveCsv(name, keys, data.rows.map((row) => keys.map((key) => row[key]))) : null, data.rows.length ? saveJson(tools.api(name), name) : null),
    data.rows.length ? table(columns, data.rows.slice(0, 8), title) : h("p", { class: "note" }, nothing),
    data.rows.length > 8 ? h("p", { class: "note more" }, `and ${count((data.groups ?? data.rows.length) - 8)} more`) : "",
  );
}

export const errors = (section, data, tools) =>
  simple(section, "Errors", "errors", [named("error", "class"), { title: "model", class: "grow", cell: (row) => h("bdi", {}, shown(row.model)) }, CALLS], data, tools, "No call failed.");
export const cache = (section, data, tools) =>
  simple(section, "Cache", "cache", [named("model"), { title: "input", number: true, cell: (row) => short(row.input_tokens) }, { title: "from cache", number: true, cell: (row) => share(row.cache_read_tokens, row.input_tokens) }, ...(tools.lacks("cache_saved_usd") ? [] : [{ title: "saved", number: true, cell: (row) => money(row.cache_saved_usd) }])], data, tools, "No calls in this period.");

export function unpriced(section, data, tools) {
  const near = (row) => (row.nearest?.length ? h("bdi", {}, row.nearest.slice(0, 3).map(shown).join(", ")) : "–");
  simple(section, "Calls without a price", "unpriced", [named("model"), { title: "provider", class: "grow narrow", cell: (row) => h("bdi", {}, shown(row.provider)) }, { title: "nearest in the catalog", class: "grow", cell: near, exact: (row) => (row.nearest ?? []).map(shown).join(", ") }, CALLS], data, tools, "Every call has a price.");
  for (const text of [...new Set(data.rows.map((row) => row.remedy).filter(Boolean))].slice(0, 3)) {
    const lines = data.rows.filter((row) => row.remedy === text && row.setting).slice(0, 5);
    section.append(h("p", { class: "note more" }, `${text[0].toUpperCase()}${printable(text.slice(1)).replaceAll("`", "")}.`));
    if (lines.length) section.append(h("pre", { class: "remedy" }, h("code", {}, lines.map((row) => printable(row.setting)).join("\n"))));
  }
}

const LATENCIES = ["model", "calls", "p50_ms", "p95_ms", "p99_ms", "ttft_p50_ms", "ttft_p95_ms", "ttft_p99_ms"];

export function latency(section, data, tools) {
  const rows = (data.rows ?? []).slice(0, 8);
  const ms = (key) => ({ title: key.replace("_ms", ""), number: true, cell: (one) => duration(one[key]) });
  section.replaceChildren(
    head("Latency", rows.length ? saveCsv("latency", LATENCIES, data.rows.map((row) => LATENCIES.map((key) => row[key]))) : null, rows.length ? saveJson(tools.api("latency"), "latency") : null, rows.length ? saveSvg(tools.url("chart/latency.svg"), "latency") : null),
    rows.length ? table([named("model"), ms("p50_ms"), ms("p95_ms"), ms("p99_ms"), { title: "TTFT p50", number: true, cell: (one) => duration(one.ttft_p50_ms) }], rows, "Latency by model") : h("p", { class: "note" }, "No call in this period has a latency."),
  );
}

const BUDGETS = ["budget", "key", "unit", "used", "amount", "left", "percent", "pace"];

export function budgets(section, data, tools) {
  if (!data?.rows?.length) return section.replaceChildren(head("Budgets"), h("p", { class: "note" }, "No budget is set. ", h("code", {}, "taximeter budgets set NAME --usd 50 --per day --by customer"), " limits what calls may use."));
  const name = (row) => [h("bdi", {}, shown(row.budget)), row.key.length ? h("bdi", { class: "note" }, ` ${printable(row.key.join("/"))}`) : null];
  const used = (row) => h("meter", { class: row.percent < 100 ? "share" : "share over", min: 0, max: 100, value: Math.min(100, row.percent), "aria-label": `${row.percent} %` });
  const columns = [
    { title: "budget", class: "key", cell: name, exact: (row) => printable([row.budget, ...row.key].join("/")) },
    { title: "used", number: true, cell: (row) => [inUnit(row.used, row.unit), h("span", { class: "note" }, ` of ${inUnit(row.amount, row.unit)}`)], exact: (row) => `${inUnit(row.left, row.unit)} left` },
    { title: "", number: true, cell: (row) => [share(row.percent, 100), used(row)] },
    { title: "on pace", number: true, class: "narrow", cell: (row) => (row.pace ? range(row.pace, row.unit) : "–"), exact: (row) => (row.pace ? "what the period takes if it goes on as it began" : "known when a quarter of the period is over, from ten calls on") },
  ];
  section.replaceChildren(
    head("Budgets", saveCsv("budgets", BUDGETS, data.rows.map((row) => BUDGETS.map((key) => (Array.isArray(row[key]) ? row[key].join(key === "key" ? "/" : "-") : row[key])))), saveJson(tools.api("budgets"), "budgets")),
    table(columns, data.rows.slice(0, 10), "Budgets"),
    data.rows.length > 10 ? h("p", { class: "note more" }, `and ${count(data.total - 10)} more`) : "",
  );
}

export function margin(section) {
  section.replaceChildren(head("Margin"), h("p", { class: "note" }, "Revenue is not known, so there is no margin. Prices that your customers pay are part of billing, which is not set up."));
}

const CAPTIONS = { "": "Newest calls", cost_usd: "Costliest calls", latency_ms: "Slowest calls" };

function callColumns(written, zone) {
  return [
    { title: "time", cell: (row) => when(row.started_at, zone) },
    { title: "model", class: "grow", cell: (row) => h("bdi", {}, shown(row.model)) },
    { title: "customer", class: "grow narrow", cell: (row) => h("bdi", {}, shown(row.customer)) },
    { title: "input", number: true, class: "narrow", cell: (row) => (row.usage_status === "missing" ? "–" : count(row.usage?.input_tokens ?? 0)) },
    { title: "output", number: true, class: "narrow", cell: (row) => (row.usage_status === "missing" ? "–" : count(row.usage?.output_tokens ?? 0)) },
    { title: "cost", number: true, cell: (row) => (row.error ? h("bdi", {}, printable(row.error)) : written(row.cost_usd)), exact: (row) => (row.cost_usd ? `$${row.cost_usd}` : null) },
    { title: "latency", number: true, class: "narrow", cell: (row) => duration(row.latency_ms) },
  ];
}

function callTable(rows, data, tools) {
  const written = amounts(data.rows.map((row) => row.cost_usd));
  const body = table(callColumns(written, data.timezone), rows.map((row) => ({ ...row, class: `link${row.status === "error" ? " failed" : ""}` })), CAPTIONS[tools.order] ?? "Calls");
  body.dataset.form = written("1");
  body.querySelectorAll("tbody tr").forEach((line, index) => {
    line.tabIndex = index ? -1 : 0;
    line.dataset.id = rows[index].id;
    const open = () => tools.openCall(rows[index].id);
    line.addEventListener("click", open);
    line.addEventListener("keydown", (event) => event.key === "Enter" && open());
  });
  return body;
}

/** Add rows of new calls above the others: what is there keeps its focus, and is not drawn again. `data.rows` are all calls. */
export function moreCalls(section, fresh, data, tools) {
  const old = section.querySelector(".scroll");
  const added = callTable(fresh, data, tools);
  // The amounts of all rows have the same number of decimals.
  if (old?.dataset.form !== added.dataset.form) return calls(section, data, tools);
  const lines = old.querySelector("tbody");
  if (lines.firstElementChild) lines.firstElementChild.tabIndex = -1;
  lines.prepend(...added.querySelectorAll("tbody tr"));
  while (lines.children.length > data.rows.length) lines.lastElementChild.remove();
}

export function calls(section, data, tools) {
  const body = callTable(data.rows, data, tools);
  const live = h("button", { type: "button", id: "live-button", "aria-pressed": String(tools.isLive), onclick: tools.toggleLive, title: `Show calls ${tools.lacks("arrivals") ? "ten seconds after they were made" : "as they arrive"} (l)` }, tools.isLive ? "● live" : "○ live");
  const orders = [["", "newest"], ["cost_usd", "costliest"], ["latency_ms", "slowest"]];
  const nothing = data.problem ? h("p", { class: "problem", role: "alert" }, printable(data.problem)) : h("p", { class: "note" }, "No calls in this period.");
  const choose = orders.map(([name, text]) => h("button", { type: "button", "aria-pressed": String(name === tools.order), onclick: () => tools.setOrder(name) }, text));
  section.replaceChildren(
    head("Calls", h("span", { class: "segments small", role: "group", "aria-label": "Order of the calls" }, choose), live, h("a", { href: tools.api("export.csv"), download: "taximeter-calls.csv" }, "CSV"), h("a", { href: tools.api("export.jsonl"), download: "taximeter-calls.jsonl" }, "JSON")),
    data.rows.length ? body : nothing,
    data.next || data.next_offset ? h("button", { class: "more", type: "button", onclick: () => tools.moreCalls(data) }, "More calls") : "",
  );
}

/** The fields that a reader looks for first. */
const FACTS = [
  "started_at", "provider", "model", "operation", "status", "error", "finish_reason", "cost_usd", "cost_status", "priced_as", "catalog",
  "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "latency_ms", "ttft_ms",
  "team", "feature", "agent", "customer", "user", "session",
];

export async function openCall(id, tools) {
  const { call, explanation, repricings } = await tools.get(`calls/${encodeURIComponent(id)}`, "");
  const place = ([name]) => (FACTS.indexOf(name) + 1 || FACTS.length + 1);
  const simpleFields = Object.entries(call)
    .filter(([, given]) => given !== null && given !== "" && typeof given !== "object")
    .sort((a, b) => place(a) - place(b));
  const fact = ([name, given]) => [h("dt", {}, printable(name)), h("dd", {}, h("bdi", {}, typeof given === "number" ? String(given) : printable(given)))];
  const group = (title, entries) => (entries.length ? [h("h3", {}, title), h("dl", { class: "facts" }, entries.flatMap(fact))] : []);
  showDialog(
    `${shown(call.model)}: ${call.status === "error" ? shown(call.error) : money(call.cost_usd)}`,
    h("dl", { class: "facts" }, simpleFields.flatMap(fact)),
    ...group("Usage", Object.entries(call.usage ?? {}).filter(([name, given]) => call[name] !== given)),
    ...group("Tags", Object.entries(call.tags ?? {})),
    ...(explanation ? [h("h3", {}, "Price"), h("pre", {}, h("code", {}, explanation.split("\n").map(printable).join("\n")))] : []),
    ...(repricings?.length ? [h("h3", {}, "Priced before"), h("p", {}, repricings.map((one) => `${money(one.cost_usd)} until ${one.repriced_at}`).join(", "))] : []),
    repricings === null ? h("p", { class: "note more" }, "What this call cost before a repricing is known to the ledger's file only, and this ledger is in ClickHouse.") : "",
    call.session ? h("p", { class: "more" }, h("button", { type: "button", onclick: () => (document.getElementById("dialog").close(), filterBy("session", call.session, false)) }, "Show the session")) : "",
  );
}

export function empty(section, meta) {
  section.replaceChildren(
    h("h2", {}, "No calls yet"),
    h("p", {}, "The ledger ", h("code", {}, printable(meta.ledger ?? "of this machine")), " has no calls. Three lines in your program meter every call of its clients:"),
    h("pre", {}, h("code", {}, "import taximeter\n\ntaximeter.init()\n# … your OpenAI, Anthropic, Gemini, … calls …")),
    h("p", { class: "note" }, "This page looks again every few seconds. Do you expect calls here? ", h("code", {}, "taximeter doctor"), " says where events go."),
  );
}
