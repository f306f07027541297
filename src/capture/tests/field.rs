//! Wire formats, fees and dialects that usage trackers were reported to read incorrectly.

use super::framing::Framing;
use super::scanner::{Options, Scanner};
use super::summary::{Gap, Summary};
use super::usage::{Dialect, Family, normalize};
use crate::event::{CostNotes, Unit, UsageStatus};
use proptest::prelude::*;
use serde_json::{Value, json};

fn read(family: Family, dialect: Dialect, content_type: &str, body: &[u8], piece: usize) -> Summary {
    let framing = Framing::of_content_type(content_type);
    let options = Options { family, dialect, framing, is_gzip: false, strips_usage: false, keeps_report: false };
    let mut scanner = Scanner::new(options);
    body.chunks(piece.max(1)).for_each(|bytes| assert_eq!(scanner.feed(bytes), None));
    scanner.finish()
}

fn of(family: Family, dialect: Dialect, body: &Value) -> Summary {
    read(family, dialect, "application/json", body.to_string().as_bytes(), 64)
}

fn events(parts: &[Value]) -> String {
    parts.iter().map(|part| format!("data: {part}\n\n")).collect::<Vec<_>>().concat() + "data: [DONE]\n\n"
}

fn count(found: &Summary, unit: &str) -> u64 {
    found.usage.count(Unit::from_name(unit).unwrap())
}

fn both(found: &Summary) -> (u64, u64) {
    (count(found, "input_tokens"), count(found, "output_tokens"))
}

fn chunk(choice: &Value) -> Value {
    json!({"object": "chat.completion.chunk", "model": "m-1", "choices": [choice]})
}

#[test]
fn usage_inside_the_choice_of_the_last_part_is_read() {
    let usage = json!({"prompt_tokens": 19, "completion_tokens": 13, "total_tokens": 32});
    let parts = [
        chunk(&json!({"index": 0, "delta": {"content": "a \"usage\" b"}, "finish_reason": null})),
        chunk(&json!({"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage})),
    ];
    let found = read(Family::OpenAi, Dialect::Plain, "text/event-stream", events(&parts).as_bytes(), 7);
    assert_eq!((both(&found), found.usage_status), ((19, 13), UsageStatus::Complete));
}

#[test]
fn an_empty_model_name_is_replaced_by_the_one_that_answers() {
    let mut first = chunk(&json!({"index": 0, "delta": {"content": ""}, "finish_reason": null}));
    first["model"] = json!("");
    let parts = [
        first,
        chunk(&json!({"index": 0, "delta": {"content": "a"}, "finish_reason": ""})),
        chunk(&json!({"index": 0, "delta": {}, "finish_reason": "stop"})),
        json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}),
    ];
    let found = read(Family::OpenAi, Dialect::Plain, "text/event-stream", events(&parts).as_bytes(), 9);
    assert_eq!((found.model.as_deref(), found.finish_reason.as_deref()), (Some("m-1"), Some("stop")));
}

#[test]
fn the_bytes_decide_the_framing_and_not_the_header() {
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 3});
    let stream = events(&[
        chunk(&json!({"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"})),
        json!({"choices": [], "usage": usage}),
    ]);
    let marked = format!("\u{feff}{stream}");
    let commented = format!(": keep-alive\r\n\r\n{stream}");
    let body = json!({"model": "m-1", "choices": [{"finish_reason": "stop"}], "usage": usage});
    let pretty = format!("\n {body:#}\n");
    let list =
        json!([chunk(&json!({"delta": {}, "finish_reason": "stop"})), {"choices": [], "usage": usage}]).to_string();
    let lines = format!(
        "{}\n{}\n",
        chunk(&json!({"delta": {}, "finish_reason": "stop"})),
        json!({"usage": usage, "done": true})
    );
    let types = ["application/json", "text/event-stream", "text/plain", "application/octet-stream", ""];
    for content_type in types {
        for text in [&stream, &marked, &commented, &body.to_string(), &pretty, &list, &lines] {
            for piece in [1, 5, 4096] {
                let found = read(Family::OpenAi, Dialect::Plain, content_type, text.as_bytes(), piece);
                let state = (both(&found), found.usage_status, found.model.as_deref());
                assert_eq!(state, ((7, 3), UsageStatus::Complete, Some("m-1")), "{content_type} {piece}: {text}");
            }
        }
    }
}

#[test]
fn a_cut_stream_with_another_content_type_is_not_complete() {
    let cut = "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"choi";
    for content_type in ["application/json", "text/plain", ""] {
        let found = read(Family::OpenAi, Dialect::Plain, content_type, cut.as_bytes(), 8);
        assert_eq!((found.usage_status, found.gap), (UsageStatus::Missing, Some(Gap::Interrupted)), "{content_type}");
        assert!(found.first_token.is_some());
    }
}

#[test]
fn responses_that_are_neither_json_nor_a_stream_are_reported() {
    for body in [&b"ID3\x04\x00 audio"[..], b"<html>data: {}</html>", b"\x00\x00\x00\x20ftypisom....", b"dat", b""] {
        for piece in [1, 4096] {
            let found = read(Family::OpenAi, Dialect::Plain, "audio/mpeg", body, piece);
            assert_eq!((found.usage_status, found.gap), (UsageStatus::Missing, Some(Gap::Foreign)), "{body:?}");
        }
    }
}

#[test]
fn usage_is_removed_from_streams_of_any_content_type_only() {
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 3});
    let kept = format!("data: {}\n\n", chunk(&json!({"delta": {"content": "a"}})));
    let asked = format!("{kept}data: {}\n\n", json!({"choices": [], "usage": usage}));
    let body = json!({"choices": [], "usage": usage}).to_string();
    let page = "<html></html>".to_owned();
    for (sent, expected) in [(&asked, &kept), (&body, &body), (&page, &page)] {
        for piece in [1, 3, 4096] {
            let options = Options {
                family: Family::OpenAi,
                dialect: Dialect::Plain,
                framing: Framing::of_content_type("text/plain"),
                is_gzip: false,
                strips_usage: true,
                keeps_report: false,
            };
            let mut scanner = Scanner::new(options);
            let mut passed: Vec<u8> = Vec::new();
            for bytes in sent.as_bytes().chunks(piece) {
                passed.extend(scanner.feed(bytes).unwrap());
            }
            passed.extend(scanner.finish_bytes().unwrap_or_default());
            assert_eq!(&String::from_utf8(passed).unwrap(), expected);
        }
    }
}

#[test]
fn an_error_in_a_response_with_a_success_status_is_noticed() {
    for (body, kind) in [
        (json!({"error": {"message": "no", "type": "overloaded_error"}}), Some("overloaded_error")),
        (
            json!({"error": {"message": "no", "code": "rate limit of the user Ann", "status": "UNAVAILABLE"}}),
            Some("UNAVAILABLE"),
        ),
        (json!({"type": "error", "error": {"type": "api_error"}}), Some("api_error")),
        (json!({"error": "model not loaded"}), None),
        (json!({"base_resp": {"status_code": 1004, "status_msg": "no"}, "choices": null}), None),
        (json!({"choices": [{"error": {"code": 502, "message": "no"}, "finish_reason": "error"}]}), None),
    ] {
        let found = of(Family::OpenAi, Dialect::Plain, &body);
        assert_eq!((found.is_error, found.error.as_deref()), (true, kind), "{body}");
    }
    for body in [
        json!({"error": null, "status": "completed"}),
        json!({"error": {"code": 0, "message": ""}}),
        json!({"error": {}}),
        json!({"base_resp": {"status_code": 0, "status_msg": "success"}}),
    ] {
        assert!(!of(Family::OpenAi, Dialect::Plain, &body).is_error, "{body}");
    }
}

#[test]
fn bodies_of_bedrocks_models_are_read_by_their_field_names() {
    let metrics = json!({"inputTokenCount": 7, "outputTokenCount": 3, "invocationLatency": 12});
    for body in [
        json!({"inputTextTokenCount": 7, "results": [{"tokenCount": 3, "outputText": "a", "completionReason": "FINISH"}]}),
        json!({"inputTextTokenCount": 7, "totalOutputTextTokenCount": 3, "completionReason": "FINISH", "outputText": "a"}),
        json!({"generation": "a", "prompt_token_count": 7, "generation_token_count": 3, "stop_reason": "stop"}),
        json!({"output": {}, "stopReason": "end_turn", "usage": {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10}}),
        json!({"id": "a", "choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}),
        json!({"text": "a", "finish_reason": "COMPLETE", "meta": {"billed_units": {"input_tokens": 7, "output_tokens": 3}}}),
        json!({"outputs": [{"text": "a", "stop_reason": "stop"}], "amazon-bedrock-invocationMetrics": metrics}),
        json!({"type": "message", "usage": {"input_tokens": 7, "output_tokens": 3}, "stop_reason": "end_turn"}),
    ] {
        let found = of(Family::Invoke, Dialect::Plain, &body);
        assert_eq!((both(&found), found.usage_status), ((7, 3), UsageStatus::Complete), "{body}");
    }
    let nova = json!({"usage": {"inputTokens": 7, "outputTokens": 3, "cacheReadInputTokenCount": 11, "cacheWriteInputTokenCount": 5}});
    let found = of(Family::Invoke, Dialect::Plain, &nova);
    assert_eq!(
        (both(&found), count(&found, "cache_read_tokens"), count(&found, "cache_write_tokens")),
        ((23, 3), 11, 5)
    );
    let both_names = json!({"usage": {"inputTokens": 7, "outputTokens": 3, "cacheReadInputTokenCount": 11, "cacheReadInputTokens": 11}});
    assert_eq!(both(&of(Family::Invoke, Dialect::Plain, &both_names)), (18, 3));
    let embedding = of(Family::Invoke, Dialect::Plain, &json!({"embedding": [0.1], "inputTextTokenCount": 9}));
    assert_eq!((both(&embedding), embedding.usage_status), ((9, 0), UsageStatus::Complete));
}

#[test]
fn bedrocks_metrics_count_unless_the_body_reports_more() {
    let metrics = json!({"inputTokenCount": 7, "outputTokenCount": 3, "cacheReadInputTokenCount": 11});
    let stop = json!({"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics});
    let alone = [json!({"type": "content_block_delta", "delta": {"text": "a"}}), stop.clone()];
    for family in [Family::Anthropic, Family::Invoke] {
        let found = read(family, Dialect::Plain, "", events(&alone).as_bytes(), 9);
        assert_eq!((both(&found), found.usage_status), ((18, 3), UsageStatus::Complete));
        let cache = json!({"ephemeral_1h_input_tokens": 5});
        let usage =
            json!({"input_tokens": 7, "output_tokens": 3, "cache_read_input_tokens": 11, "cache_creation": cache});
        let told = [json!({"type": "message_start", "message": {"usage": usage}}), stop.clone()];
        let found = read(family, Dialect::Plain, "", events(&told).as_bytes(), 9);
        assert_eq!((both(&found), count(&found, "cache_write_1h_tokens")), ((23, 3), 5));
    }
}

#[test]
fn hosted_tools_of_responses_are_counted_once() {
    let search = |action: &str| json!({"type": "web_search_call", "status": "completed", "action": {"type": action}});
    let output = json!([
        search("search"), search("open_page"), search("search"), {"type": "web_search_call", "status": "failed"},
        {"type": "file_search_call", "status": "completed", "queries": ["a", "b"]},
        {"type": "code_interpreter_call", "container_id": "c1"}, {"type": "code_interpreter_call", "container_id": "c1"},
        {"type": "code_interpreter_call", "container_id": "c2"}, {"type": "function_call", "name": "web_search_call"},
        {"type": "message", "content": []},
    ]);
    let usage = json!({"input_tokens": 7, "output_tokens": 3, "total_tokens": 10});
    let response =
        json!({"object": "response", "model": "gpt-5", "status": "completed", "output": output, "usage": usage});
    let stream = [
        json!({"type": "response.output_item.done", "item": search("search")}),
        json!({"type": "response.completed", "response": response}),
    ];
    let whole = of(Family::OpenAi, Dialect::Plain, &response);
    let streamed = read(Family::OpenAi, Dialect::Plain, "text/event-stream", events(&stream).as_bytes(), 33);
    for found in [whole, streamed] {
        let fees = ["web_searches", "storage_searches", "code_executions"].map(|unit| count(&found, unit));
        assert_eq!((both(&found), fees), ((7, 3), [2, 1, 2]));
    }
    let mut told = response;
    told["tool_usage"] = json!({"web_search": {"num_requests": 5}});
    assert_eq!(count(&of(Family::OpenAi, Dialect::Plain, &told), "web_searches"), 5);
}

#[test]
fn grounding_is_billed_by_distinct_query_or_by_prompt() {
    let part = |model: &str, queries: &[&str], end: bool| {
        let reason = if end { json!("STOP") } else { Value::Null };
        json!({
            "candidates": [{"groundingMetadata": {"webSearchQueries": queries}, "finishReason": reason}],
            "modelVersion": model, "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10},
        })
    };
    for (model, searches) in [
        ("gemini-3-flash-preview", 3),
        ("gemini-2.5-flash", 1),
        ("gemini-2.0-flash-001", 1),
        ("models/gemini-4-pro", 3),
    ] {
        let body = part(model, &["a", "b", "a", "c", " "], true);
        assert_eq!(count(&of(Family::Gemini, Dialect::Gemini, &body), "web_searches"), searches, "{model}");
        let stream = [part(model, &["a", "b"], false), part(model, &["b", "c"], true)];
        let found = read(Family::Gemini, Dialect::Vertex, "text/event-stream", events(&stream).as_bytes(), 50);
        assert_eq!(count(&found, "web_searches"), searches, "{model}");
    }
    assert_eq!(count(&of(Family::Gemini, Dialect::Gemini, &part("gemini-2.5-flash", &[], true)), "web_searches"), 0);
    let mut maps = part("gemini-2.5-flash", &[], true);
    maps["candidates"][0]["groundingMetadata"]["groundingChunks"] = json!([{"maps": {"uri": "x"}}]);
    assert_eq!(count(&of(Family::Gemini, Dialect::Gemini, &maps), "map_searches"), 1);
}

#[test]
fn searches_in_openais_shape_are_counted() {
    let base = json!({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10});
    for (extra, unit, times) in [
        (json!({"server_tool_use": {"web_search_requests": 2}}), "web_searches", 2),
        (json!({"prompt_tokens_details": {"web_search_requests": 2}}), "web_searches", 2),
        (
            json!({"server_tool_use": {"web_search_requests": 2}, "prompt_tokens_details": {"web_search_requests": 2}}),
            "web_searches",
            2,
        ),
        (json!({"server_side_tool_usage_details": {"x_search_calls": 4}}), "social_searches", 4),
        (json!({"connectors": {"code_interpreter": 1}}), "code_executions", 1),
        (json!({"plugins": {"search": {"count": 1, "strategy": "turbo"}}}), "web_searches", 1),
    ] {
        let mut usage = base.clone();
        usage.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let report = normalize(&usage, Some(Family::OpenAi), Dialect::Plain).unwrap();
        assert_eq!((report.usage.count(Unit::from_name(unit).unwrap()), report.unreadable), (times, None), "{usage}");
    }
    // An invalid count of a fee does not hide the tokens.
    let odd = json!({"prompt_tokens": 7, "completion_tokens": 3, "server_tool_use": "none", "plugins": [1], "connectors": {"web_search": -1}});
    let report = normalize(&odd, Some(Family::OpenAi), Dialect::Plain).unwrap();
    assert_eq!((report.usage.count(Unit::INPUT_TOKENS), report.unreadable), (7, None));
}

#[test]
fn models_that_always_search_and_systems_that_list_their_tools() {
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 3});
    let body = json!({"model": "gpt-4o-search-preview-2025-03-11", "choices": [], "usage": usage});
    assert_eq!(count(&of(Family::OpenAi, Dialect::Plain, &body), "web_searches"), 1);
    let ran = json!([{"index": 0, "type": "search"}, {"index": 1, "type": "python"}, {"index": 2, "type": "search"}]);
    let body = json!({"model": "groq/compound", "choices": [{"message": {"executed_tools": ran}}], "usage": usage});
    let found = of(Family::OpenAi, Dialect::Plain, &body);
    assert_eq!((count(&found, "web_searches"), count(&found, "code_executions")), (2, 1));
    let call = json!([{"type": "function", "function": {"name": "$web_search", "arguments": "{}"}}]);
    let stream = [
        chunk(&json!({"delta": {"content": "a"}})),
        chunk(&json!({"delta": {"tool_calls": call}})),
        json!({"choices": [], "usage": usage}),
    ];
    let found = read(Family::OpenAi, Dialect::Plain, "text/event-stream", events(&stream).as_bytes(), 40);
    assert_eq!(count(&found, "web_searches"), 1);
}

#[test]
fn the_rest_of_a_total_depends_on_the_dialect() {
    let usage = |extra: &Value| {
        let mut usage = json!({"prompt_tokens": 20, "completion_tokens": 424, "total_tokens": 1016});
        usage.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        usage
    };
    let body = |model: &str, extra: &Value| json!({"model": model, "choices": [{"finish_reason": "stop"}], "usage": usage(extra)});
    for (dialect, model) in [
        (Dialect::Gemini, "m"),
        (Dialect::Vertex, "m"),
        (Dialect::Plain, "gemini-2.5-pro"),
        (Dialect::Plain, "google/gemini-2.5-pro"),
    ] {
        let found = of(Family::OpenAi, dialect, &body(model, &json!({})));
        assert_eq!((both(&found), count(&found, "output_reasoning_tokens")), ((20, 996), 572), "{model}");
        assert!(found.notes.is_empty());
    }
    let found = of(Family::OpenAi, Dialect::Plain, &body("m", &json!({})));
    assert_eq!((both(&found), found.notes), ((20, 424), CostNotes::UNACCOUNTED_TOKENS));
    let named = of(
        Family::OpenAi,
        Dialect::Plain,
        &body("m", &json!({"completion_tokens_details": {"reasoning_tokens": 572}})),
    );
    assert_eq!((both(&named), named.notes), ((20, 996), CostNotes::NONE));
    let cached =
        of(Family::OpenAi, Dialect::Plain, &body("m", &json!({"prompt_tokens_details": {"cached_tokens": 572}})));
    assert_eq!((both(&cached), cached.notes), ((592, 424), CostNotes::NONE));
    let heard = of(Family::OpenAi, Dialect::Plain, &body("voxtral", &json!({"prompt_audio_seconds": 30})));
    assert_eq!((both(&heard), heard.notes), ((20, 424), CostNotes::NONE));
    // Gemini's former client has no field for thoughts.
    let native =
        json!({"usageMetadata": {"prompt_token_count": 17, "candidates_token_count": 36, "total_token_count": 70}});
    assert_eq!(both(&of(Family::Gemini, Dialect::Gemini, &native)), (17, 53));
    let wrapped = json!({"usage": {"input_tokens": 17, "output_tokens": 36, "total_tokens": 70}});
    assert_eq!(both(&of(Family::LangChain, Dialect::Gemini, &wrapped)), (17, 53));
    assert_eq!(of(Family::LangChain, Dialect::Plain, &wrapped).notes, CostNotes::UNACCOUNTED_TOKENS);
}

#[test]
fn dashscopes_cache_writes_are_part_of_the_prompt() {
    let details = json!({"cached_tokens": 100, "cache_creation_input_tokens": 1889, "cache_type": "ephemeral", "cache_creation": {"ephemeral_5m_input_tokens": 1889}});
    let usage =
        json!({"prompt_tokens": 2013, "completion_tokens": 14, "total_tokens": 2027, "prompt_tokens_details": details});
    let report = normalize(&usage, Some(Family::OpenAi), Dialect::Plain).unwrap();
    let counts: Vec<_> = report.usage.iter().map(|(unit, count)| (unit.name(), count)).collect();
    let expected = [
        ("input_tokens", 2013),
        ("output_tokens", 14),
        ("cache_read_tokens", 100),
        ("cache_write_tokens", 1889),
        ("cache_write_5m_tokens", 1889),
    ];
    assert_eq!(counts, expected);
}

#[test]
fn image_output_without_a_breakdown_counts_as_images() {
    let usage = json!({"input_tokens": 23, "output_tokens": 1056, "total_tokens": 1079, "input_tokens_details": {"text_tokens": 23}});
    let body = json!({"created": 1, "data": [{"b64_json": "AAAA"}], "usage": usage});
    let event = json!({"type": "image_generation.completed", "b64_json": "AAAA", "usage": usage});
    assert_eq!(count(&of(Family::OpenAi, Dialect::Plain, &body), "output_image_tokens"), 1056);
    let found = read(Family::OpenAi, Dialect::Plain, "text/event-stream", events(&[event]).as_bytes(), 60);
    assert_eq!(count(&found, "output_image_tokens"), 1056);
    let mut parted = body.clone();
    parted["usage"]["output_tokens_details"] = json!({"text_tokens": 56, "image_tokens": 1000});
    assert_eq!(count(&of(Family::OpenAi, Dialect::Plain, &parted), "output_image_tokens"), 1000);
    let transcript = json!({"text": "a", "usage": {"type": "tokens", "input_tokens": 3, "output_tokens": 5}});
    assert_eq!(count(&of(Family::OpenAi, Dialect::Plain, &transcript), "output_image_tokens"), 0);
}

#[test]
fn images_of_gemini_without_a_breakdown_count_if_their_tokens_are_known() {
    let image = json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}});
    let both = json!([{"text": "a"}, image, image]);
    for (model, parts, output, images, notes) in [
        ("gemini-2.5-flash-image", json!([image]), 1290, 1290, CostNotes::NONE),
        ("gemini-3-pro-image-preview", json!([image]), 1120, 1120, CostNotes::NONE),
        ("gemini-2.5-flash-image", both.clone(), 2600, 2580, CostNotes::NONE),
        ("gemini-2.5-flash-image", both.clone(), 2000, 0, CostNotes::UNSPLIT_OUTPUT),
        ("gemini-3-pro-image-preview", both.clone(), 2600, 0, CostNotes::UNSPLIT_OUTPUT),
        // A model that does not draw, and writes about an image.
        ("gemini-2.5-flash", json!([{"text": "\"image/png\""}]), 2600, 0, CostNotes::NONE),
    ] {
        let body = json!({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}], "modelVersion": model,
            "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": output, "totalTokenCount": output + 7}});
        let found = of(Family::Gemini, Dialect::Gemini, &body);
        assert_eq!((count(&found, "output_image_tokens"), found.notes), (images, notes), "{model} {output}");
    }
}

#[test]
fn the_tier_and_region_that_served_are_read() {
    for (traffic, tier) in [
        ("ON_DEMAND", Some("standard")),
        ("ON_DEMAND_FLEX", Some("flex")),
        ("ON_DEMAND_PRIORITY", Some("priority")),
        ("PROVISIONED_THROUGHPUT", Some("provisioned_throughput")),
        ("TRAFFIC_TYPE_UNSPECIFIED", None),
    ] {
        let body = json!({"usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 3, "trafficType": traffic}});
        assert_eq!(of(Family::Gemini, Dialect::Vertex, &body).service_tier.as_deref(), tier, "{traffic}");
        let usage = json!({"prompt_tokens": 7, "completion_tokens": 3, "extra_properties": {"google": {"traffic_type": traffic}}});
        let found = of(Family::OpenAi, Dialect::Vertex, &json!({"choices": [], "usage": usage}));
        assert_eq!(found.service_tier.as_deref(), tier, "{traffic}");
    }
    let named = json!({"usageMetadata": {"promptTokenCount": 7, "serviceTier": "SERVICE_TIER_FLEX"}});
    assert_eq!(of(Family::Gemini, Dialect::Gemini, &named).service_tier.as_deref(), Some("flex"));
    for (place, region) in [("us", Some("us")), ("global", Some("global")), ("not_available", None)] {
        let usage = json!({"input_tokens": 7, "output_tokens": 3, "service_tier": "standard", "inference_geo": place});
        let found = of(Family::Anthropic, Dialect::Plain, &json!({"type": "message", "usage": usage}));
        assert_eq!(found.region.as_deref(), region);
    }
}

proptest! {
    #[test]
    fn no_bytes_and_no_header_cause_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1_usize..40,
        content_type in prop::sample::select(vec!["application/json", "text/event-stream", "application/x-ndjson", "application/vnd.amazon.eventstream", ""]),
    ) {
        let _ = read(Family::Invoke, Dialect::Plain, content_type, &bytes, piece);
    }

    #[test]
    fn a_body_is_read_equally_in_any_pieces_and_with_any_header(
        input in 1_u32..9999, output in 1_u32..9999, piece in 1_usize..300, padding in "[a-z\"\\\\\n{}\\[\\]]{0,80}",
        content_type in prop::sample::select(vec!["application/json", "text/event-stream", "text/plain", ""]),
    ) {
        let body = json!({"x": padding, "choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": input, "completion_tokens": output}});
        for text in [body.to_string(), format!("{body:#}")] {
            let found = read(Family::OpenAi, Dialect::Plain, content_type, text.as_bytes(), piece);
            prop_assert_eq!(both(&found), (u64::from(input), u64::from(output)));
            prop_assert_eq!(found.usage_status, UsageStatus::Complete);
        }
    }
}
