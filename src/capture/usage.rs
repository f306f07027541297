//! Usage as providers report it, in one convention: totals include their parts.
//!
//! | wire | input | cache | reasoning |
//! |---|---|---|---|
//! | OpenAI chat, completions, embeddings | `prompt_tokens`, a total | inside | inside `completion_tokens` |
//! | OpenAI responses, images, audio | `input_tokens`, a total | inside | inside `output_tokens` |
//! | Anthropic messages | `input_tokens`, without cache | two fields to add | inside `output_tokens` |
//!
//! The two that share field names are told apart by the fields that only one has.

use serde_json::Value;

use crate::event::usage::MAX_COUNT;
use crate::event::{Unit, Usage};

/// Whose wire format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// OpenAI and those who speak its formats.
    OpenAi,
    /// Anthropic messages.
    Anthropic,
}

impl Family {
    /// The family of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "openai" => Some(Self::OpenAi),
            "anthropic" => Some(Self::Anthropic),
            _ => None,
        }
    }
}

/// Usage from a provider's usage object. Fields that are absent, null or no counts are left out; `None` when there are none.
#[must_use]
pub fn normalize(report: &Value, family: Option<Family>) -> Option<Usage> {
    let object = report.as_object()?;
    let has = |names: &[&str]| names.iter().any(|name| object.get(*name).is_some_and(|value| !value.is_null()));
    let is_anthropic = match family {
        Some(family) => family == Family::Anthropic,
        None => has(&["cache_creation_input_tokens", "cache_read_input_tokens", "cache_creation", "server_tool_use"]),
    };
    let usage = if is_anthropic {
        anthropic(report)
    } else if has(&["prompt_tokens", "completion_tokens"]) {
        openai(report, ["prompt_tokens", "completion_tokens"], ["prompt_tokens_details", "completion_tokens_details"])
    } else {
        openai(report, ["input_tokens", "output_tokens"], ["input_tokens_details", "output_tokens_details"])
    };
    (!usage.is_empty()).then_some(usage)
}

/// A count at a path; floats count when they are whole.
fn count(report: &Value, path: &[&str]) -> Option<u64> {
    let value = path.iter().try_fold(report, |value, key| value.get(key))?;
    let count = value.as_u64().or_else(|| {
        value.as_f64().filter(|number| *number >= 0.0 && number.fract() == 0.0).map(|number| number as u64)
    })?;
    (count <= MAX_COUNT).then_some(count)
}

fn set(usage: &mut Usage, name: &str, count: Option<u64>) {
    if let (Some(unit), Some(count)) = (Unit::from_name(name), count) {
        usage.set(unit, count);
    }
}

/// Sets a part of a total; a part of zero says nothing.
fn set_part(usage: &mut Usage, name: &str, count: Option<u64>) {
    set(usage, name, count.filter(|count| *count > 0));
}

fn openai(report: &Value, [input, output]: [&str; 2], [input_details, output_details]: [&str; 2]) -> Usage {
    let mut usage = Usage::default();
    set(&mut usage, "input_tokens", count(report, &[input]));
    set(&mut usage, "output_tokens", count(report, &[output]));
    set_part(&mut usage, "cache_read_tokens", count(report, &[input_details, "cached_tokens"]));
    set_part(&mut usage, "cache_write_tokens", count(report, &[input_details, "cache_write_tokens"]));
    set_part(&mut usage, "input_audio_tokens", count(report, &[input_details, "audio_tokens"]));
    set_part(&mut usage, "input_image_tokens", count(report, &[input_details, "image_tokens"]));
    set_part(&mut usage, "output_reasoning_tokens", count(report, &[output_details, "reasoning_tokens"]));
    set_part(&mut usage, "output_audio_tokens", count(report, &[output_details, "audio_tokens"]));
    set_part(&mut usage, "output_image_tokens", count(report, &[output_details, "image_tokens"]));
    // DeepSeek's form of the same: hits and misses add up to `prompt_tokens`.
    if usage.count(Unit::CACHE_READ_TOKENS) == 0 {
        set_part(&mut usage, "cache_read_tokens", count(report, &["prompt_cache_hit_tokens"]));
    }
    // Transcription that is billed by time.
    if let Some(seconds) = report.get("seconds").and_then(Value::as_f64).filter(|seconds| (0.0..=1e6).contains(seconds))
    {
        set(&mut usage, "audio_seconds", Some((seconds * 1e6).round() as u64));
        set(&mut usage, "input_audio_seconds", Some((seconds * 1e6).round() as u64));
    }
    usage
}

fn anthropic(report: &Value) -> Usage {
    let mut usage = Usage::default();
    let read = count(report, &["cache_read_input_tokens"]);
    let by_ttl =
        ["ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"].map(|name| count(report, &["cache_creation", name]));
    let write = count(report, &["cache_creation_input_tokens"])
        .or_else(|| by_ttl.iter().any(Option::is_some).then(|| by_ttl.iter().flatten().sum()));
    let input = count(report, &["input_tokens"]);
    if input.is_some() || read.is_some() || write.is_some() {
        let total = [input, read, write].into_iter().flatten().sum();
        set(&mut usage, "input_tokens", Some(total));
    }
    set(&mut usage, "output_tokens", count(report, &["output_tokens"]));
    set_part(&mut usage, "cache_read_tokens", read);
    set_part(&mut usage, "cache_write_tokens", write);
    set_part(&mut usage, "cache_write_5m_tokens", by_ttl[0]);
    set_part(&mut usage, "cache_write_1h_tokens", by_ttl[1]);
    set_part(&mut usage, "output_reasoning_tokens", count(report, &["output_tokens_details", "thinking_tokens"]));
    set_part(&mut usage, "web_searches", count(report, &["server_tool_use", "web_search_requests"]));
    usage
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn counts(report: &Value, family: Option<Family>) -> Vec<(&'static str, u64)> {
        normalize(report, family).unwrap().iter().map(|(unit, count)| (unit.name(), count)).collect()
    }

    #[test]
    fn openai_totals_include_their_parts_as_reported() {
        let chat = json!({"prompt_tokens": 1009, "completion_tokens": 307, "total_tokens": 1316,
            "prompt_tokens_details": {"cached_tokens": 503, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 101}});
        let expected = [
            ("input_tokens", 1009),
            ("output_tokens", 307),
            ("cache_read_tokens", 503),
            ("output_reasoning_tokens", 101),
        ];
        assert_eq!(counts(&chat, None), expected);
        let responses = json!({"input_tokens": 1009, "output_tokens": 307, "input_tokens_details": {"cached_tokens": 503},
            "output_tokens_details": {"reasoning_tokens": 101}});
        assert_eq!(counts(&responses, None), expected);
    }

    #[test]
    fn anthropic_input_is_the_sum_of_three() {
        let report = json!({"input_tokens": 101, "output_tokens": 53, "cache_creation_input_tokens": 211,
            "cache_read_input_tokens": 709, "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 11},
            "server_tool_use": {"web_search_requests": 3}});
        assert_eq!(
            counts(&report, None),
            [
                ("input_tokens", 1021),
                ("output_tokens", 53),
                ("cache_read_tokens", 709),
                ("cache_write_tokens", 211),
                ("cache_write_5m_tokens", 200),
                ("cache_write_1h_tokens", 11),
                ("web_searches", 3)
            ]
        );
    }

    #[test]
    fn what_is_no_count_is_left_out() {
        for report in [
            json!(null),
            json!([1]),
            json!({}),
            json!({"prompt_tokens": -5}),
            json!({"prompt_tokens": "7"}),
            json!({"input_tokens": 1.5}),
            json!({"input_tokens": null}),
        ] {
            assert_eq!(normalize(&report, None), None, "{report}");
        }
    }
}
