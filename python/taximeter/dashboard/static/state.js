// The state of the page is its address: Back, reload and a copied link show the same.

export const METRICS = [
  ["cost_usd", "Spend"],
  ["calls", "Calls"],
  ["input_tokens", "Input"],
  ["output_tokens", "Output"],
  ["errors", "Errors"],
  ["latency_ms", "Latency"],
];
export const PERIODS = [
  ["24h", "Last 24 hours"],
  ["today", "Today"],
  ["yesterday", "Yesterday"],
  ["7d", "Last 7 days"],
  ["30d", "Last 30 days"],
  ["90d", "Last 90 days"],
  ["this-month", "This month"],
  ["last-month", "Last month"],
  ["all", "All time"],
  ["custom", "Own period …"],
];
// Names of periods that end before now.
const ENDS = { yesterday: "today", "last-week": "this-week", "last-month": "this-month" };
const DEFAULTS = { since: "30d", until: "", tz: "", by: "model", bin: "auto", metric: "cost_usd" };
/** The order of the calls, which only their panel takes. */
const ORDER = { sort: "" };

let listener = () => {};

/** The state in the address. */
export function read() {
  const query = new URLSearchParams(location.search);
  const state = { where: query.getAll("where") };
  for (const [name, value] of Object.entries({ ...DEFAULTS, ...ORDER })) state[name] = query.get(name) ?? value;
  return state;
}

/** The query of the page's address: what has its default is left out. */
export const address = (state) => encoded(state, { ...DEFAULTS, ...ORDER }, {});

/** The query of a question to the server. Latencies have no sum, so where there is one, they are ordered by the cost. */
export const query = (state, more = {}) => encoded({ ...state, metric: state.metric === "latency_ms" ? DEFAULTS.metric : state.metric }, DEFAULTS, { start: "day", ...more });

function encoded(state, names, more) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(names)) if (state[name] !== value) found.set(name, state[name]);
  for (const condition of state.where) found.append("where", condition);
  for (const [name, value] of Object.entries(more)) if (value !== null && value !== undefined) found.set(name, value);
  const text = found.toString();
  return text ? `?${text}` : "";
}

/** Change the state. The page before is one step back. `loads` is whether the panels are loaded again. */
export function change(changes, loads = true) {
  const next = { ...read(), ...changes };
  history.pushState(null, "", location.pathname + address(next));
  if (loads) listener();
}

export function onChange(run) {
  listener = run;
  addEventListener("popstate", run);
}

/** The period of a choice. */
export const periodOf = (name) => ({ since: name, until: ENDS[name] ?? "" });

/** The name of a state's period among the choices. */
export function periodName({ since, until }) {
  const known = PERIODS.some(([name]) => name === since) && until === (ENDS[since] ?? "");
  return known ? since : "custom";
}

/** Filter by a value, or exclude it. A condition that is there twice is left out. */
export function filterBy(field, given, excluded) {
  const value = given === null || given === undefined ? "" : String(given).replaceAll(",", "\\,");
  const condition = `${field}${excluded ? "!=" : "="}${value}`;
  const { where } = read();
  if (!where.includes(condition)) change({ where: [...where, condition] });
}
