//! The columns of the table, in the order in which rows are sent.

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name.
    pub name: &'static str,
    /// The type, as `ClickHouse` itself writes it: the header of a request must have the same text.
    pub kind: &'static str,
    /// The rest of its definition in `CREATE TABLE`: codec, default.
    pub rest: &'static str,
}

const NAME: &str = "LowCardinality(String)";
const COUNT: &str = "UInt64";
const OPTIONAL_COUNT: &str = "Nullable(UInt64)";
const MONEY: &str = "Nullable(Decimal(38, 24))";
const TEXT: &str = "String";
const SMALL_NUMBERS: &str = "CODEC(T64, ZSTD(1))";
const PACKED: &str = "CODEC(ZSTD(1))";

const fn column(name: &'static str, kind: &'static str, rest: &'static str) -> Column {
    Column { name, kind, rest }
}

/// The columns that are sent. `encode` writes the values in this order.
pub const COLUMNS: &[Column] = &[
    column("id", "UUID", ""),
    column("started_at", "DateTime64(9, 'UTC')", "CODEC(Delta, ZSTD(1))"),
    column("provider", NAME, ""),
    column("model", NAME, ""),
    column("operation", NAME, ""),
    column("status", NAME, ""),
    column("error", NAME, ""),
    column("finish_reason", NAME, ""),
    column("input_tokens", COUNT, SMALL_NUMBERS),
    column("output_tokens", COUNT, SMALL_NUMBERS),
    column("cache_read_tokens", COUNT, SMALL_NUMBERS),
    column("cache_write_tokens", COUNT, SMALL_NUMBERS),
    column("reasoning_tokens", COUNT, SMALL_NUMBERS),
    // Stored counts, as in the journal: seconds are in microseconds.
    column("usage", "Map(LowCardinality(String), UInt64)", PACKED),
    column("usage_status", NAME, ""),
    column("cost_usd", MONEY, PACKED),
    column("cost_status", NAME, ""),
    column("computed_cost_usd", MONEY, PACKED),
    // Since schema 2. NULL if no cache was used, or if it is unknown.
    column("cache_saved_usd", MONEY, PACKED),
    column("cost_notes", NAME, ""),
    column("priced_as", NAME, ""),
    column("catalog", NAME, ""),
    column("latency_us", OPTIONAL_COUNT, SMALL_NUMBERS),
    column("ttft_us", OPTIONAL_COUNT, SMALL_NUMBERS),
    column("service_tier", NAME, ""),
    column("region", NAME, ""),
    column("batch", "Bool", ""),
    column("agent", NAME, ""),
    column("feature", NAME, ""),
    column("team", NAME, ""),
    column("customer", NAME, ""),
    column("user", TEXT, PACKED),
    column("session", TEXT, PACKED),
    column("tags", "Map(LowCardinality(String), String)", PACKED),
    column("trace_id", TEXT, PACKED),
    column("span_id", TEXT, PACKED),
    column("parent_span_id", TEXT, PACKED),
    column("call_id", TEXT, PACKED),
    column("provider_usage", TEXT, PACKED),
];

/// The column that is not sent. A repricing writes a row again with a higher number, and `FINAL` shows the highest one.
pub const REVISION: Column = column("revision", "UInt32", "DEFAULT 0 CODEC(T64, ZSTD(1))");
