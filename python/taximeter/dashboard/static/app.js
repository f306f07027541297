// The page: reads the address, asks the server, fills the panels, and listens to the controls and the keys.

import { $, announce, fill, h, showDialog } from "./dom.js";
import { printable } from "./format.js";
import { follow } from "./live.js";
import * as panels from "./panels.js";
import { METRICS, PERIODS, address, change, onChange, periodName, periodOf, query, read } from "./state.js";

const BASE = new URL("./", location.href).pathname;
const TOP = 10;
/** Milliseconds until an empty ledger is looked at again: longer from time to time, up to a minute. */
const LOOK_AGAIN = { first: 5000, most: 60000, growth: 1.5 };
/** Milliseconds after which figures up to now are old when the page is seen again. */
const OLD = 60000;
const IDLE = 200;
const MOST_LIVE = 200;
const OPERATORS = [["=", "is"], ["!=", "is not"], ["~", "contains"], [">", "is above"], ["<", "is below"]];

let meta = null;
let run = 0;
let limits = { top: TOP, customers: TOP };
let shownCalls = [];
/** Ends live calls; null while they are off. */
let stopLive = null;
/** The chart, which is asked for beside its data. */
let early = null;
let emptyLooks = 0;
let loadedAt = 0;

/** About the width of a chart, as the style sheet has it. To ask for the real one would lay out the page before anything is asked for. */
const room = () => Math.min(innerWidth - (innerWidth <= 860 ? 24 : 40), innerWidth < 2200 ? 1640 : 2440) - 34;
const api = (name, more = {}) => `${BASE}api/v1/${name}${query(read(), more)}`;

async function get(name, search = query(read())) {
  const response = await fetch(`${BASE}api/v1/${name}${search}`);
  const data = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(data.error ?? `the dashboard answered with ${response.status}`), { status: response.status });
  return data;
}

const tools = {
  /** The durations of all calls, once the panel of latencies has its answer. */
  durations: null,
  get,
  api,
  url: (path, more = {}) => `${BASE}${path}${query(read(), more)}`,
  get metric() {
    const { metric } = read();
    return metric === "latency_ms" ? "cost_usd" : metric;
  },
  get isLatency() {
    return read().metric === "latency_ms";
  },
  /** Whether the ledger cannot tell something: one in ClickHouse knows less than a file. */
  lacks: (name) => (meta?.lacks ?? []).includes(name),
  get metricName() {
    const { metric } = read();
    return METRICS.find(([name]) => name === metric)?.[1] ?? printable(metric);
  },
  get isLive() {
    return stopLive !== null;
  },
  takeChart() {
    const taken = early;
    early = null;
    return taken;
  },
  toggleLive,
  openCall: (id) => panels.openCall(id, tools).catch(report),
  more(name) {
    limits[name] = Math.min(limits[name] * 5, 500);
    load();
  },
  get order() {
    return read().sort;
  },
  /** Show the calls in another order. */
  async setOrder(name) {
    if (stopLive) toggleLive();
    change({ sort: name }, false);
    await loadCalls();
  },
  async moreCalls(data) {
    const next = await get("calls", query(read(), { limit: 50, sort: read().sort || null, after: data.next, offset: data.next_offset }));
    shownCalls = [...shownCalls, ...next.rows];
    panels.calls($("calls"), { ...next, rows: shownCalls }, tools);
  },
};

/** Panels with their question. */
const QUESTIONS = [
  ["tiles", null, null, panels.tiles],
  ["series", () => (tools.isLatency ? "latency-series" : "series"), () => ({}), panels.series],
  ["calls", "calls", () => ({ limit: 25, sort: read().sort || null }), (section, data) => panels.calls(section, { ...data, rows: (shownCalls = data.rows) }, tools)],
  ["top", "top", () => ({ limit: limits.top }), panels.top],
  ["customers", "top", () => ({ by: "customer", limit: limits.customers }), panels.customers],
  ["errors", "errors", () => ({}), panels.errors],
  ["cache", "cache", () => ({}), panels.cache],
  ["unpriced", "unpriced", () => ({}), panels.unpriced],
  ["latency", "latency", () => ({}), panels.latency],
  ["budgets", "budgets", () => ({}), panels.budgets],
];

function report(error) {
  const text = printable(error.message);
  $("problem").replaceChildren(`${text[0].toUpperCase()}${text.slice(1)}`, ...(meta ? [] : [h("button", { type: "button", onclick: load }, "Try again")]));
  $("problem").hidden = false;
}

async function load() {
  const own = ++run;
  const state = read();
  // The page's own address asked for this already when it was opened: see `dashboard/static.py`.
  const first = get("first", location.search).then(
    (data) => ({ data }),
    // A filter may be invalid. The panels say so, below controls that can remove it.
    async (error) => ({ error, data: await get("meta", query({ ...state, where: [] })) }),
  );
  $("problem").hidden = true;
  if (meta) $("panels").classList.add("loading");
  const wasEmpty = meta?.first === null;
  early = wasEmpty || panels.isTableShown() ? null : panels.chart(tools, room());
  early?.catch(() => {}); // its panel says why, unless it has no data at all
  panels.margin($("margin"));
  // All questions are asked at once; panels are drawn when the fields of the ledger are known.
  const asked = first.then(({ data }) => own === run && (meta = data));
  const answer = async (question, more) => {
    if (question) return get(typeof question === "function" ? question() : question, query(state, more()));
    const { data, error } = await first;
    if (error) throw error;
    return data;
  };
  let durations = null;
  tools.durations = new Promise((resolve, reject) => (durations = { resolve, reject }));
  tools.durations.catch(() => {}); // the panel of latencies says why
  const one = async ([id, question, more, draw]) => {
    const section = $(id);
    try {
      const data = await answer(question, more);
      if (id === "latency") durations.resolve(data.total);
      await asked;
      if (own !== run || meta.first === null) return;
      await draw(section, data, tools);
    } catch (error) {
      if (own !== run) return;
      if (id === "latency") durations.reject(error);
      // Another order may have an answer.
      if (id === "calls") panels.calls(section, { rows: (shownCalls = []), problem: error.message }, tools);
      else panels.failed(section, error, load);
    }
  };
  try {
    const ask = () => Promise.all(QUESTIONS.map(one));
    const all = wasEmpty ? null : ask();
    controls(state);
    await asked;
    if (own !== run) return;
    controls(state);
    const isEmpty = meta.first === null;
    $("empty").hidden = !isEmpty;
    $("panels").hidden = isEmpty;
    if (isEmpty) {
      panels.empty($("empty"), meta);
      lookAgain(own);
    } else {
      emptyLooks = 0;
      await (all ?? ask());
    }
  } catch (error) {
    if (own === run) {
      $("panels").hidden = true;
      report(error);
    }
  }
  if (own !== run) return;
  $("panels").classList.remove("loading");
  document.documentElement.dataset.ready = String(own);
  loadedAt = Date.now();
  if (meta) setTimeout(() => zones(read().tz || meta.timezone, true), IDLE);
  $("about").textContent = meta ? `taximeter ${meta.version}` : "";
}

function lookAgain(own) {
  const wait = Math.min(LOOK_AGAIN.first * LOOK_AGAIN.growth ** emptyLooks, LOOK_AGAIN.most);
  emptyLooks += 1;
  setTimeout(() => own === run && (document.hidden ? lookAgain(own) : load()), wait);
}

function controls(state) {
  $("metrics").replaceChildren(
    ...METRICS.map(([name, text]) => h("button", { type: "button", role: "radio", "aria-checked": String(name === state.metric), tabindex: name === state.metric ? "0" : "-1", onclick: () => change({ metric: name }) }, text)),
  );
  const name = periodName(state);
  fill($("period"), PERIODS, name);
  $("custom").hidden = name !== "custom" && !$("custom").dataset.open;
  zones(state.tz || meta?.timezone || "");
  const fields = (meta?.fields ?? [state.by]).filter((field) => field !== "tag:KEY");
  const all = [...new Set([state.by, ...fields])].filter(Boolean);
  fill($("by"), [...all.map((field) => [field, field]), ["", "nothing"], ["tag:", "a tag …"]], state.by);
  fill($("bin"), (meta?.bins ?? [state.bin]).map((bin) => [bin, bin]), state.bin);
  const remove = (index) => change({ where: state.where.filter((_, place) => place !== index) });
  $("filters").replaceChildren(
    ...state.where.map((condition, index) => h("li", {}, h("bdi", { title: printable(condition) }, printable(condition).replace(/^([^=!~<>]+(?:!=|=|~|<|>))$/, "$1(none)")), h("button", { type: "button", "aria-label": `Remove the filter ${printable(condition)}`, onclick: () => remove(index) }, "×"))),
  );
}

/** Fill the choice of time zones. All 400 take a tenth of a second, so they are there when the panels are. */
function zones(chosen, isReady = false) {
  const own = isReady ? Intl.DateTimeFormat().resolvedOptions().timeZone : "";
  const near = [...new Set([chosen, own, "UTC"].filter(Boolean))];
  const known = [...$("zone").options].map((one) => one.value);
  if (known.includes(chosen) && (!isReady || known.length > near.length)) $("zone").value = chosen;
  else fill($("zone"), [...near, ...(isReady ? (Intl.supportedValuesOf?.("timeZone") ?? []).filter((one) => !near.includes(one)) : [])].map((one) => [one, one]), chosen);
}

function addFilter() {
  const fields = (meta?.fields ?? []).filter((field) => field !== "tag:KEY");
  const field = h("select", { "aria-label": "Field" });
  const operator = h("select", { "aria-label": "Operator" });
  fill(field, [...fields, ...(meta?.numbers ?? [])].filter((one) => !(meta?.redacted ?? []).includes(one)).map((one) => [one, one]), "customer");
  fill(operator, OPERATORS, "=");
  const given = h("input", { type: "text", "aria-label": "Value", placeholder: "value; empty for none", autocomplete: "off" });
  const form = h(
    "form",
    {
      onsubmit: (event) => {
        event.preventDefault();
        $("dialog").close();
        change({ where: [...read().where, `${field.value}${operator.value}${given.value}`] });
      },
    },
    field,
    operator,
    given,
    h("button", { type: "submit" }, "Filter"),
  );
  showDialog("Show only calls whose", form, h("p", { class: "note more" }, "Commas separate alternatives: ", h("code", {}, "gpt-4o,gpt-4o-mini"), ". A click in a table filters, too; with Shift it excludes."));
  given.focus();
}

function help() {
  const keys = [["/", "filter"], ["t", "period"], ["b", "group by"], ["m", "next metric"], ["j k", "next and last call"], ["Enter", "open a call"], ["l", "live calls"], ["← →", "read a chart that has the focus"], ["?", "this help"], ["Esc", "close"]];
  showDialog("Keys", h("dl", { class: "facts" }, keys.flatMap(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)])), h("p", { class: "note more" }, "A click on a bar or a name filters by it; Shift and click excludes it. ≥ marks sums that leave out calls without a price."));
}

function toggleLive() {
  if (stopLive) {
    stopLive();
    stopLive = null;
    announce("Live calls are off.");
    return redrawCalls();
  }
  if (read().sort) return tools.setOrder("").then(toggleLive);
  stopLive = follow(api("live"), {
    calls: drawArrived,
    missed: catchUp,
    leftOut: (count) => announce(`${count} calls came too fast to be shown.`),
    refused() {
      stopLive = null;
      report(new Error("The dashboard sends no live calls now: too many pages may be watching."));
      redrawCalls();
    },
  });
  if (tools.lacks("arrivals")) announce("Live calls are on. They come ten seconds after they were made.");
  else announce("Live calls are on.");
  redrawCalls();
}

/** Show the newest calls that are not there yet. */
async function catchUp() {
  const data = await get("calls", query(read(), { limit: 25 })).catch(() => null);
  const known = new Set(shownCalls.map((one) => one.id));
  const fresh = data?.rows.filter((one) => !known.has(one.id)) ?? [];
  if (!fresh.length || !stopLive) return;
  if (fresh.length < data.rows.length || !known.size) return drawArrived(fresh.toReversed());
  // There are more between those that are shown and these.
  shownCalls = data.rows;
  panels.calls($("calls"), data, tools);
}

function drawArrived(arrived) {
  const known = new Set(shownCalls.map((one) => one.id));
  const fresh = arrived.filter((one) => !known.has(one.id)).toReversed().slice(0, MOST_LIVE);
  if (!stopLive || !fresh.length) return;
  shownCalls = [...fresh, ...shownCalls].slice(0, MOST_LIVE);
  panels.moreCalls($("calls"), fresh, { rows: shownCalls, timezone: meta?.timezone }, tools);
}

async function loadCalls() {
  try {
    const data = await get("calls", query(read(), { limit: 25, sort: read().sort || null }));
    shownCalls = data.rows;
    panels.calls($("calls"), data, tools);
  } catch (error) {
    shownCalls = [];
    panels.calls($("calls"), { rows: [], problem: error.message }, tools);
  }
}

function redrawCalls() {
  panels.calls($("calls"), { rows: shownCalls, timezone: meta?.timezone }, tools);
}

function move(step) {
  const lines = [...document.querySelectorAll("#calls tbody tr")];
  if (!lines.length) return;
  const place = lines.findIndex((line) => line.classList.contains("selected"));
  lines[place]?.classList.remove("selected");
  const next = lines[Math.max(0, Math.min(lines.length - 1, place + step))];
  next.classList.add("selected");
  next.focus();
}

const KEYS = {
  "/": addFilter,
  "?": help,
  t: () => $("period").focus(),
  b: () => $("by").focus(),
  m: () => change({ metric: METRICS[(METRICS.findIndex(([name]) => name === read().metric) + 1) % METRICS.length][0] }),
  j: () => move(1),
  k: () => move(-1),
  l: toggleLive,
};

function listen() {
  $("period").addEventListener("change", (event) => {
    const name = event.target.value;
    if (name !== "custom") {
      delete $("custom").dataset.open;
      return change(periodOf(name));
    }
    $("custom").dataset.open = "1";
    $("custom").hidden = false;
    $("from").focus();
  });
  $("custom").addEventListener("submit", (event) => {
    event.preventDefault();
    const end = $("to").value && new Date(new Date(`${$("to").value}T00:00Z`).getTime() + 86400000).toISOString().slice(0, 10);
    change({ since: $("from").value, until: end || "" });
  });
  $("zone").addEventListener("change", (event) => change({ tz: event.target.value }));
  $("bin").addEventListener("change", (event) => change({ bin: event.target.value }));
  $("by").addEventListener("change", (event) => {
    if (event.target.value !== "tag:") return change({ by: event.target.value });
    const name = h("input", { type: "text", "aria-label": "Name of the tag", required: true });
    showDialog("Group by a tag", h("form", { onsubmit: (submitted) => (submitted.preventDefault(), $("dialog").close(), change({ by: `tag:${name.value}` })) }, name, h("button", { type: "submit" }, "Group")));
    name.focus();
  });
  $("add-filter").addEventListener("click", addFilter);
  $("help-button").addEventListener("click", help);
  $("metrics").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const place = METRICS.findIndex(([name]) => name === read().metric);
    change({ metric: METRICS[(place + step + METRICS.length) % METRICS.length][0] });
    $("metrics").querySelector("[aria-checked=true]").focus();
  });
  $("link").addEventListener("click", async () => {
    const state = read();
    const fixed = { ...state, tz: meta?.timezone ?? state.tz, since: meta?.since ?? state.since, until: meta?.until ?? new Date().toISOString() };
    const link = location.origin + location.pathname + address(fixed);
    try {
      await navigator.clipboard.writeText(link);
    } catch {
      // A page that does not come by HTTPS, nor from this machine, may not write to the clipboard.
      const shown = h("input", { type: "text", value: link, readonly: true, "aria-label": "Address" });
      showDialog("Copy this address", h("form", { method: "dialog" }, shown));
      return shown.select();
    }
    $("link").textContent = "Copied";
    announce("The address is copied.");
    setTimeout(() => ($("link").textContent = "Copy link"), 2000);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("dialog").open || event.target.closest("input, select, textarea")) return;
    const action = KEYS[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    emptyLooks = 0;
    // A page that was in the background for long has old figures. A dialog and a fixed period stay as they are.
    if (meta?.first && !read().until && !$("dialog").open && Date.now() - loadedAt > OLD) load();
  });
  $("dialog").addEventListener("click", (event) => event.target === $("dialog") && $("dialog").close());
}

listen();
onChange(() => {
  limits = { top: TOP, customers: TOP };
  if (stopLive) toggleLive();
  load();
});
load();
