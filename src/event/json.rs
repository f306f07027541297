//! An event as JSON: what `taximeter export` and `taximeter tail --json` print and HTTP destinations receive.
//!
//! Absent fields are left out, except `cost_usd`, which is `null` if the cost is unknown. Costs are strings, because most readers
//! parse JSON numbers as binary floats. Times are RFC 3339 in UTC with nanoseconds.

use serde::ser::{Serialize, SerializeMap, Serializer};
use std::time::{Duration, UNIX_EPOCH};

use super::{Unit, Usage, UsageEvent, id::id_text};

/// A time as RFC 3339 in UTC with nanoseconds.
#[must_use]
pub fn time_text(unix_ns: u64) -> String {
    humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(unix_ns)).to_string()
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

impl Serialize for UsageEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &id_text(self.id))?;
        map.serialize_entry("started_at", &time_text(self.started_at))?;
        map.serialize_entry("provider", self.provider)?;
        map.serialize_entry("model", self.model)?;
        map.serialize_entry("operation", self.operation)?;
        map.serialize_entry("status", self.status.name())?;
        map.serialize_entry("usage", &self.usage)?;
        if let Some(report) = self.provider_usage {
            map.serialize_entry("provider_usage", &serde_json::from_str::<serde_json::Value>(report).ok())?;
        }
        map.serialize_entry("usage_status", self.usage_status.name())?;
        map.serialize_entry("cost_usd", &self.cost.map(|cost| cost.to_string()))?;
        map.serialize_entry("cost_status", self.cost_status.name())?;
        if let Some(cost) = self.computed_cost {
            map.serialize_entry("computed_cost_usd", &cost.to_string())?;
        }
        if !self.cost_notes.is_empty() {
            map.serialize_entry("cost_notes", &self.cost_notes.names().collect::<Vec<_>>())?;
        }
        for (name, us) in [("latency_ms", self.latency_us), ("ttft_ms", self.ttft_us)] {
            if let Some(us) = us {
                map.serialize_entry(name, &(us as f64 / 1000.0))?;
            }
        }
        if self.batch {
            map.serialize_entry("batch", &true)?;
        }
        let attribution = &self.attribution;
        for (name, text) in [
            ("priced_as", self.priced_as),
            ("catalog", self.catalog),
            ("error", self.error),
            ("finish_reason", self.finish_reason),
            ("service_tier", self.service_tier),
            ("region", self.region),
            ("agent", attribution.agent),
            ("feature", attribution.feature),
            ("team", attribution.team),
            ("customer", attribution.customer),
            ("user", attribution.user),
            ("session", attribution.session),
            ("trace_id", self.trace_id),
            ("span_id", self.span_id),
            ("parent_span_id", self.parent_span_id),
            ("call_id", self.call_id),
        ] {
            if let Some(text) = text {
                map.serialize_entry(name, text)?;
            }
        }
        if !attribution.tags.is_empty() {
            map.serialize_entry("tags", &TagMap(&attribution.tags))?;
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
    use super::*;
    use crate::event::{Attribution, CostStatus};

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
}
