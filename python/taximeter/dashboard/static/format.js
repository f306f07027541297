// Texts of values. Amounts come as exact decimal texts; what is shown is rounded, the title has every digit.

const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** A text from an event, with characters that control or reorder what is shown written as escapes. */
export function printable(given) {
  const text = String(given);
  // Most texts are of this kind, and the other expression is slow.
  if (/^[\x20-\x7e]*$/.test(text)) return text;
  return text.replace(HIDDEN, (found) => {
    const code = found.codePointAt(0);
    if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
    return code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
  });
}

/** The value of a field, which may be absent. */
export const shown = (value) => (value === null || value === undefined || value === "" ? "(none)" : printable(value));

// Numbers are written without `Intl`, whose first format takes longer than everything else before the first figures.

/** A number with some decimals and commas between thousands. What lies in the middle, as it is written, is rounded away from 0. */
export function fixed(value, places) {
  const rounded = Math.sign(value) * Math.round(Number(`${Math.abs(value)}e${places}`));
  const isExact = Math.abs(rounded) < 2 ** 53; // false for numbers that are written with an exponent
  const [digits, rest] = (isExact ? Number(`${rounded}e-${places}`) : value).toFixed(places).split(".");
  const grouped = digits.replace(/\B(?=(\d{3})+$)/g, ",");
  return rest ? `${grouped}.${rest}` : grouped;
}

const whole = (value) => fixed(value, 0);

/** A number below 1 with two digits that count. */
const small = (value) => fixed(value, Math.min(100, 1 - Number(value.toExponential(1).split("e")[1])));

/** A large number with three digits: 1.23M. */
function large(value) {
  const step = Math.min(4, Math.floor(Math.log10(Math.abs(value)) / 3));
  const digits = Number((value / 1000 ** step).toPrecision(3));
  return Math.abs(digits) >= 1000 && step < 4 ? `${digits / 1000}${"KMBT"[step]}` : `${fixed(digits, 2).replace(/\.?0+$/, "")}${" KMBT"[step].trim()}`;
}

/** An amount. `isRough` leaves out the cents of amounts of $10 and more. */
export function money(text, isRough = false) {
  if (text === null || text === undefined) return "unknown";
  const value = Number(text);
  const size = Math.abs(value);
  const digits = isRough && size >= 10 ? whole(size) : size === 0 || size >= 0.095 ? fixed(size, 2) : small(size);
  return `${value < 0 ? "-" : ""}$${digits}`;
}

export const count = whole;
export const short = (value) => (Math.abs(value) < 100000 ? whole(value) : large(value));

export function share(part, of) {
  if (!of) return "–";
  const percent = (100 * part) / of;
  return `${percent !== 0 && Math.abs(percent) < 9.95 ? fixed(percent, 1) : whole(percent)} %`;
}

export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${whole(ms)} ms`;
  return ms < 100000 ? `${fixed(ms / 1000, 1)} s` : `${fixed(ms / 60000, 1)} min`;
}

/** Two durations in one unit: `2.9 / 1.0 s`. */
export function durations(...both) {
  const known = both.filter((ms) => ms !== null && ms !== undefined);
  if (!known.length) return "–";
  const isLong = Math.max(...known) >= 1000;
  const one = (ms) => (ms === null || ms === undefined ? "–" : isLong ? fixed(ms / 1000, ms < 995 ? 2 : 1) : whole(ms));
  return `${both.map(one).join(" / ")} ${isLong ? "s" : "ms"}`;
}

/** An amount in the unit of a budget. */
export const inUnit = (text, unit) => (unit === "usd" ? money(text) : whole(Number(text)));

/** A range: one number if it is narrow. */
export function range([low, high], unit) {
  const ends = [Number(low), Number(high)];
  const middle = (ends[0] + ends[1]) / 2;
  const text = (amount) => (unit === "usd" ? money(String(amount), amount >= 100) : whole(amount));
  return ends[1] - ends[0] <= 0.05 * middle ? text(middle) : `${text(ends[0])}–${text(ends[1]).replace("$", "")}`;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** A moment with an offset as its calendar has it: `30 Oct 2026`, with the time unless it is midnight. */
export function moment(text) {
  const [, year, month, day, time] = /^(\d+)-(\d\d)-(\d\d)T(\d\d:\d\d)/.exec(text) ?? [];
  return year ? `${Number(day)} ${MONTHS[month - 1]} ${year}${time === "00:00" ? "" : ` ${time}`}` : printable(text);
}

/** A function that writes amounts with one number of decimals, so that they align: two digits of the least of them, at most 6 places. */
export function amounts(texts) {
  const least = Math.min(...texts.map((text) => Math.abs(Number(text))).filter((size) => size > 0), 1);
  const places = least >= 0.095 ? 2 : Math.min(6, 1 - Math.floor(Math.log10(least)));
  return (text) => (text === null || text === undefined ? "unknown" : `${Number(text) < 0 ? "-" : ""}$${fixed(Math.abs(Number(text)), places)}`);
}

/** The value of a metric. */
export function value(metric, given) {
  if (metric === "latency_ms") return duration(given);
  if (metric === "cost_usd" || metric === "cache_saved_usd") return money(given);
  return given === null ? "–" : count(given);
}

/** A format takes long to make, so each is made once. */
const made = new Map();
const moments = (zone) => made.get(zone) ?? made.set(zone, new Intl.DateTimeFormat("en-GB", { timeZone: zone || undefined, month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" })).get(zone);

export function when(text, zone) {
  try {
    return moments(zone).format(new Date(text));
  } catch {
    return printable(text);
  }
}

/** A table as CSV: texts that a spreadsheet would run as a formula get an apostrophe. */
export function csv(head, rows) {
  const cell = (given) => {
    const text = given === null || given === undefined ? "" : String(given);
    const safe = typeof given === "string" && /^[=+\-@\t\r]/.test(text) && !/^-?[0-9.]+$/.test(text) ? `'${text}` : text;
    const visible = printable(safe);
    return /[",\n]/.test(visible) ? `"${visible.replaceAll('"', '""')}"` : visible;
  };
  return [head, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
}
