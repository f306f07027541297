//! An event as JSON: what `taximeter export` and `taximeter tail --json` print and HTTP destinations receive.
//!
//! Absent fields are left out, except `cost_usd`, which is `null` if the cost is unknown. Costs are strings, because most readers
//! parse JSON numbers as binary floats. Times are RFC 3339 in UTC with nanoseconds.

//!
//! HTTP destinations write it a hundred thousand times a second, so it is written as bytes: the keys are constants, numbers and costs are
//! written digit by digit, and a text is copied if nothing in it has to be escaped. `serde_json` does the same in three times the time.

use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::id::with_id_text;
use super::{Unit, Usage, UsageEvent};
use crate::money::UsdText;

/// A time as RFC 3339 in UTC with nanoseconds.
#[must_use]
pub fn time_text(unix_ns: u64) -> String {
    humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(unix_ns)).to_string()
}

/// Writes a time as RFC 3339 in UTC with nanoseconds.
pub(crate) fn write_time(out: &mut Vec<u8>, unix_ns: u64) {
    // Writing to memory cannot fail.
    let _ = write!(out, "{}", humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(unix_ns)));
}

/// Writes a text as a JSON string.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    // Without an early end, the compiler checks many bytes at once.
    let is_escaped = |byte| u8::from(byte < b' ') | u8::from(byte == b'"') | u8::from(byte == b'\\');
    let needs_escape = text.bytes().fold(0, |found, byte| found | is_escaped(byte)) != 0;
    if needs_escape {
        // Writing to memory cannot fail.
        let _ = serde_json::to_writer(out, text);
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_double(out: &mut Vec<u8>, number: f64) {
    // Writing to memory cannot fail.
    let _ = serde_json::to_writer(out, &number);
}

/// Writes microseconds as milliseconds, with the digits of the nearest double.
pub(crate) fn write_milliseconds(out: &mut Vec<u8>, us: u64) {
    /// A double has 15 exact decimal digits. Longer numbers are rounded.
    const EXACT: u64 = 1_000_000_000_000_000;
    if us >= EXACT {
        return write_double(out, us as f64 / 1000.0);
    }
    write_number(out, us / 1000);
    let part = us % 1000;
    let digits = [b'.', b'0' + (part / 100) as u8, b'0' + (part / 10 % 10) as u8, b'0' + (part % 10) as u8];
    let length = match (part % 10, part % 100) {
        (_, 0) => 2,
        (0, _) => 3,
        _ => 4,
    };
    out.extend_from_slice(&digits[..length]);
}

fn write_usage(out: &mut Vec<u8>, usage: &Usage) {
    out.push(b'{');
    for (index, (unit, count)) in usage.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"\"" } else { b",\"" });
        out.extend_from_slice(unit.name().as_bytes());
        out.extend_from_slice(b"\":");
        match unit.scale() {
            1 => write_number(out, count),
            scale => write_double(out, count as f64 / scale as f64),
        }
    }
    out.push(b'}');
}

/// Writes a string that holds an exact amount.
fn write_amount(out: &mut Vec<u8>, amount: &UsdText) {
    out.push(b'"');
    out.extend_from_slice(amount.as_bytes());
    out.push(b'"');
}

impl UsageEvent<'_> {
    /// Appends the event as a JSON object.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        // An id and a time have no character that JSON escapes.
        out.extend_from_slice(br#"{"id":""#);
        with_id_text(self.id, |id| out.extend_from_slice(id.as_bytes()));
        out.extend_from_slice(br#"","started_at":""#);
        write_time(out, self.started_at);
        out.push(b'"');
        self.write_json_after_time(out);
    }

    /// Appends what follows the id and the time in the event's JSON object.
    pub(crate) fn write_json_after_time(&self, out: &mut Vec<u8>) {
        macro_rules! put {
            ($key:literal, $value:expr) => {{
                out.extend_from_slice(concat!(",\"", $key, "\":").as_bytes());
                write_text(out, $value);
            }};
            // A constant that has no character to escape.
            ($key:literal, name $value:expr) => {{
                out.extend_from_slice(concat!(",\"", $key, "\":\"").as_bytes());
                out.extend_from_slice($value.name().as_bytes());
                out.push(b'"');
            }};
            ($key:literal, optional $value:expr) => {
                if let Some(value) = $value {
                    put!($key, value);
                }
            };
        }
        let attribution = &self.attribution;
        put!("provider", self.provider);
        put!("model", self.model);
        put!("operation", self.operation);
        put!("status", name self.status);
        out.extend_from_slice(br#","usage":"#);
        write_usage(out, &self.usage);
        if let Some(report) = self.provider_usage {
            out.extend_from_slice(br#","provider_usage":"#);
            // Writing to memory cannot fail.
            let _ = serde_json::to_writer(&mut *out, &serde_json::from_str::<serde_json::Value>(report).ok());
        }
        put!("usage_status", name self.usage_status);
        out.extend_from_slice(br#","cost_usd":"#);
        match self.cost {
            Some(cost) => write_amount(out, &UsdText::new(cost)),
            None => out.extend_from_slice(b"null"),
        }
        put!("cost_status", name self.cost_status);
        if let Some(cost) = self.computed_cost {
            out.extend_from_slice(br#","computed_cost_usd":"#);
            write_amount(out, &UsdText::new(cost));
        }
        // A newer version may have set only notes that have no name here.
        if self.cost_notes.names().next().is_some() {
            out.extend_from_slice(br#","cost_notes":"#);
            for (index, name) in self.cost_notes.names().enumerate() {
                out.push(if index == 0 { b'[' } else { b',' });
                write_text(out, name);
            }
            out.push(b']');
        }
        if let Some(us) = self.latency_us {
            out.extend_from_slice(br#","latency_ms":"#);
            write_milliseconds(out, us);
        }
        if let Some(us) = self.ttft_us {
            out.extend_from_slice(br#","ttft_ms":"#);
            write_milliseconds(out, us);
        }
        if self.batch {
            out.extend_from_slice(br#","batch":true"#);
        }
        put!("priced_as", optional self.priced_as);
        put!("catalog", optional self.catalog);
        put!("error", optional self.error);
        put!("finish_reason", optional self.finish_reason);
        put!("service_tier", optional self.service_tier);
        put!("region", optional self.region);
        put!("agent", optional attribution.agent);
        put!("feature", optional attribution.feature);
        put!("team", optional attribution.team);
        put!("customer", optional attribution.customer);
        put!("user", optional attribution.user);
        put!("session", optional attribution.session);
        put!("trace_id", optional self.trace_id);
        put!("span_id", optional self.span_id);
        put!("parent_span_id", optional self.parent_span_id);
        put!("call_id", optional self.call_id);
        if !attribution.tags.is_empty() {
            out.extend_from_slice(br#","tags":"#);
            for (index, (key, value)) in attribution.tags.iter().enumerate() {
                out.push(if index == 0 { b'{' } else { b',' });
                write_text(out, key);
                out.push(b':');
                write_text(out, value);
            }
            out.push(b'}');
        }
        out.push(b'}');
    }
}

impl Serialize for UsageEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = Vec::new();
        self.write_json(&mut text);
        serde_json::from_slice::<&RawValue>(&text).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl Serialize for Usage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (unit, count) in self.iter() {
            match unit.scale() {
                1 => map.serialize_entry(unit.name(), &count)?,
                scale => map.serialize_entry(unit.name(), &(count as f64 / scale as f64))?,
            }
        }
        map.end()
    }
}

impl Usage {
    /// Reads counts from the object that [`Serialize`] writes. Unknown units and invalid counts are left out: a newer
    /// version wrote them.
    #[must_use]
    pub fn from_json(text: &str) -> Self {
        let mut usage = Self::default();
        let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
        for (name, value) in &fields {
            let Some(unit) = Unit::from_name(name) else { continue };
            let count = match unit.scale() {
                1 => value.as_u64(),
                scale => value.as_f64().map(|number| (number * scale as f64).round() as u64),
            };
            if let Some(count) = count {
                usage.set(unit, count);
            }
        }
        usage
    }
}

/// Tags as one JSON object.
pub struct TagMap<'a>(pub &'a [(&'a str, &'a str)]);

impl Serialize for TagMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Attribution, CostNotes, CostStatus};

    #[test]
    fn json_has_exact_costs_utc_times_and_no_empty_fields() {
        let mut usage = Usage::default();
        usage.set(Unit::INPUT_TOKENS, 3);
        usage.set(Unit::from_name("audio_seconds").unwrap(), 1_500_000);
        let event = UsageEvent {
            started_at: 1_763_800_000_000_000_001,
            provider: "openai",
            model: "gpt-4o",
            operation: "chat",
            usage,
            cost: Some("0.10".parse().unwrap()),
            cost_status: CostStatus::Priced,
            latency_us: Some(1_250),
            attribution: Attribution { tags: vec![("a", "b")], ..Attribution::default() },
            ..UsageEvent::default()
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            concat!(
                r#"{"id":"00000000-0000-0000-0000-000000000000","started_at":"2025-11-22T08:26:40.000000001Z","#,
                r#""provider":"openai","model":"gpt-4o","operation":"chat","status":"success","#,
                r#""usage":{"input_tokens":3,"audio_seconds":1.5},"usage_status":"complete","#,
                r#""cost_usd":"0.1","cost_status":"priced","latency_ms":1.25,"tags":{"a":"b"}}"#
            )
        );
        let unknown = serde_json::to_value(UsageEvent::default()).unwrap();
        assert!(unknown["cost_usd"].is_null());
    }

    proptest! {
        #[test]
        fn every_text_and_number_is_written_as_serde_json_writes_it(
            texts in prop::array::uniform4(prop::option::of(".{0,80}")),
            counts in prop::collection::vec((0_u8..62, 0_u64..=1_000_000_000_000), 0..12),
            times in (0..i64::MAX as u64, any::<Option<u64>>(), prop::option::of(0_u64..3_000_000)),
            (notes, batch, tags) in (any::<u16>(), any::<bool>(), prop::collection::btree_map(".{0,9}", ".{0,9}", 0..4)),
        ) {
            let [model, operation, error, customer] = texts.each_ref().map(Option::as_deref);
            let mut usage = Usage::default();
            for (index, count) in counts {
                usage.set(Unit::from_index(index).unwrap(), count);
            }
            let event = UsageEvent {
                started_at: times.0,
                model: model.unwrap_or_default(),
                operation: operation.unwrap_or_default(),
                error,
                usage,
                provider_usage: Some(r#"{"b": 1, "a": [2.5]}"#),
                cost_notes: CostNotes::from_code(notes),
                latency_us: times.1,
                ttft_us: times.2,
                batch,
                attribution: Attribution {
                    customer,
                    tags: tags.iter().map(|(key, value)| (&**key, &**value)).collect(),
                    ..Attribution::default()
                },
                ..UsageEvent::default()
            };
            let text = serde_json::to_string(&event).unwrap();
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            let field = |name: &str| read.get(name).cloned();
            let written = |text: Option<&str>| text.map(serde_json::Value::from);
            prop_assert_eq!(field("model"), written(Some(event.model)));
            prop_assert_eq!(field("error"), written(error));
            prop_assert_eq!(field("customer"), written(customer));
            prop_assert_eq!(field("started_at"), written(Some(&time_text(times.0))));
            prop_assert_eq!(field("tags"), (!tags.is_empty()).then(|| serde_json::json!(tags)));
            prop_assert!(text.contains(&format!("\"usage\":{},", serde_json::to_string(&event.usage).unwrap())), "{}", text);
            prop_assert_eq!(field("provider_usage"), Some(serde_json::json!({"a": [2.5], "b": 1})));
            let names = event.cost_notes.names().collect::<Vec<_>>();
            prop_assert_eq!(field("cost_notes"), (!names.is_empty()).then(|| serde_json::json!(names)));
            for (name, us) in [("latency_ms", times.1), ("ttft_ms", times.2)] {
                prop_assert_eq!(field(name).is_some(), us.is_some());
                if let Some(us) = us {
                    let number = serde_json::to_string(&(us as f64 / 1000.0)).unwrap();
                    let ends = [',', '}'].map(|end| format!("\"{name}\":{number}{end}"));
                    prop_assert!(ends.iter().any(|end| text.contains(end)), "{} in {}", number, text);
                }
            }
            // The texts are escaped as `serde_json` does it, and nothing else differs.
            prop_assert!(text.contains(&serde_json::to_string(event.model).unwrap()));
        }
    }
}
