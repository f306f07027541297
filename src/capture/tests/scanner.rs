//! The scanner with complete responses and streams of every family: in pieces, cut off, compressed and beyond the limits.

use super::*;
use crate::event::{Unit, UsageStatus};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

const CHAT: &str = concat!(
    "data: {\"model\":\"gpt-4o-2024-08-06\",\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\n",
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\r\n\r\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1009,\"completion_tokens\":307},\"service_tier\":\"default\"}\n\n",
    "data: [DONE]\n\n"
);
const ANTHROPIC: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-x\",\"usage\":{\"input_tokens\":101,\"output_tokens\":1,\"cache_read_input_tokens\":709}}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":53}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
);

fn options(family: Family) -> Options {
    let framing = Framing::Events;
    Options { family, dialect: Dialect::Plain, framing, is_gzip: false, strips_usage: false, keeps_report: false }
}

fn summary_of(options: Options, body: &[u8], piece: usize) -> Summary {
    let mut scanner = Scanner::new(options);
    for bytes in body.chunks(piece) {
        assert_eq!(scanner.feed(bytes), None);
    }
    scanner.finish()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_chat_stream_is_read_in_any_pieces() {
    for piece in [1, 7, 64, 10_000] {
        let found = summary_of(options(Family::OpenAi), CHAT.as_bytes(), piece);
        assert_eq!(found.model.as_deref(), Some("gpt-4o-2024-08-06"));
        assert_eq!(found.usage.count(Unit::INPUT_TOKENS), 1009);
        assert_eq!(found.usage_status, UsageStatus::Complete);
        assert_eq!(found.finish_reason.as_deref(), Some("stop"));
        assert_eq!(found.service_tier.as_deref(), Some("default"));
        assert!(found.first_token.is_some());
    }
    let compressed = summary_of(Options { is_gzip: true, ..options(Family::OpenAi) }, &gzip(CHAT.as_bytes()), 5);
    assert_eq!(compressed.usage.count(Unit::OUTPUT_TOKENS), 307);
}

#[test]
fn cumulative_reports_replace_each_other() {
    let found = summary_of(options(Family::Anthropic), ANTHROPIC.as_bytes(), 9);
    let counts: Vec<_> = found.usage.iter().map(|(unit, count)| (unit.name(), count)).collect();
    assert_eq!(counts, [("input_tokens", 810), ("output_tokens", 53), ("cache_read_tokens", 709)]);
    assert_eq!((found.usage_status, found.finish_reason.as_deref()), (UsageStatus::Complete, Some("end_turn")));
}

#[test]
fn a_stream_that_breaks_off_is_partial_or_missing() {
    let cut = ANTHROPIC.find("event: message_delta").unwrap();
    let found = summary_of(options(Family::Anthropic), &ANTHROPIC.as_bytes()[..cut], 9);
    assert_eq!((found.usage_status, found.usage.count(Unit::INPUT_TOKENS)), (UsageStatus::Partial, 810));
    let cut = CHAT.find("data: {\"choices\":[],").unwrap();
    assert_eq!(summary_of(options(Family::OpenAi), &CHAT.as_bytes()[..cut], 9).usage_status, UsageStatus::Missing);
}

#[test]
fn only_usage_reports_are_removed() {
    let (start, end) = (CHAT.find("data: {\"choices\":[],").unwrap(), CHAT.find("data: [DONE]").unwrap());
    let expected = [&CHAT[..start], &CHAT[end..]].concat().replace(",\"usage\":null", "");
    for is_gzip in [false, true] {
        let body = if is_gzip { gzip(CHAT.as_bytes()) } else { CHAT.as_bytes().to_vec() };
        let mut scanner = Scanner::new(Options { strips_usage: true, is_gzip, ..options(Family::OpenAi) });
        let mut passed: Vec<u8> = body.chunks(11).flat_map(|bytes| scanner.feed(bytes).unwrap()).collect();
        passed.extend(scanner.finish_bytes().unwrap());
        if is_gzip {
            let mut decoder = MultiGzDecoder::new(Vec::new());
            decoder.write_all(&passed).unwrap();
            passed = decoder.finish().unwrap();
        }
        assert_eq!(String::from_utf8(passed).unwrap(), expected);
        assert_eq!(scanner.finish().usage.count(Unit::INPUT_TOKENS), 1009);
    }
}

#[test]
fn invalid_gzip_is_passed_on_unchanged() {
    let mut scanner = Scanner::new(Options { strips_usage: true, is_gzip: true, ..options(Family::OpenAi) });
    assert_eq!(scanner.feed(b"data: {}\n\n"), None);
    assert_eq!(scanner.feed(b"more"), None);
    assert_eq!(scanner.finish_bytes(), None);
    assert_eq!(scanner.finish().usage_status, UsageStatus::Missing);
}

#[test]
fn a_large_event_is_searched_once() {
    // If each piece were searched again from the start, this would take minutes.
    let body = format!(
        "data: {{\"pad\":\"{}\",\"choices\":[],\"usage\":{{\"prompt_tokens\":7}}}}\n\ndata: [DONE]\n\n",
        "x".repeat(8 << 20)
    );
    let found = summary_of(options(Family::OpenAi), body.as_bytes(), 512);
    assert_eq!((found.usage.count(Unit::INPUT_TOKENS), found.usage_status), (7, UsageStatus::Complete));
    let beyond = format!("data: {}\n\n{CHAT}", "x".repeat(MAX_PENDING + 5_000));
    let found = summary_of(options(Family::OpenAi), beyond.as_bytes(), 4096);
    assert_eq!(found.usage.count(Unit::INPUT_TOKENS), 1009);
}

#[test]
fn the_reports_of_other_families_are_found() {
    let count = |found: &Summary| (found.usage.count(Unit::INPUT_TOKENS), found.usage.count(Unit::OUTPUT_TOKENS));
    let gemini = concat!(
        "data: {\"candidates\":[{\"content\":{}}],\"usageMetadata\":{\"promptTokenCount\":11,\"candidatesTokenCount\":2},\"modelVersion\":\"gemini-x\"}\r\n\r\n",
        "data: {\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":11,\"candidatesTokenCount\":5,\"thoughtsTokenCount\":3,\"totalTokenCount\":19},\"modelVersion\":\"gemini-x\"}\r\n\r\n",
    );
    let found = summary_of(options(Family::Gemini), gemini.as_bytes(), 13);
    assert_eq!((count(&found), found.model.as_deref()), ((11, 8), Some("gemini-x")));
    assert_eq!((found.usage_status, found.finish_reason.as_deref()), (UsageStatus::Complete, Some("STOP")));
    let cut = gemini.find("\r\n\r\n").unwrap() + 4;
    let found = summary_of(options(Family::Gemini), &gemini.as_bytes()[..cut], 13);
    assert_eq!((count(&found), found.usage_status), ((11, 2), UsageStatus::Partial));

    let cohere = concat!(
        "event: content-delta\ndata: {\"type\":\"content-delta\",\"delta\":{\"message\":{\"content\":{\"text\":\"a\"}}}}\n\n",
        "event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\",\"usage\":{\"billed_units\":{\"input_tokens\":7.0,\"output_tokens\":3.0},\"tokens\":{\"input_tokens\":70,\"output_tokens\":3}}}}\n\n",
    );
    let found = summary_of(options(Family::Cohere), cohere.as_bytes(), 9);
    assert_eq!(
        (count(&found), found.usage_status, found.finish_reason.as_deref()),
        ((7, 3), UsageStatus::Complete, Some("COMPLETE"))
    );

    let lines = Options { framing: Framing::Lines, ..options(Family::Cohere) };
    let first_version = concat!(
        "{\"event_type\":\"text-generation\",\"text\":\"a\"}\n",
        "{\"event_type\":\"stream-end\",\"finish_reason\":\"COMPLETE\",\"response\":{\"meta\":{\"billed_units\":{\"input_tokens\":7,\"output_tokens\":3}}}}\n",
    );
    let found = summary_of(lines, first_version.as_bytes(), 5);
    assert_eq!((count(&found), found.usage_status), ((7, 3), UsageStatus::Complete));

    let ollama = concat!(
        "{\"model\":\"llama3\",\"response\":\"a\",\"done\":false}\n",
        "{\"model\":\"llama3\",\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":7,\"eval_count\":3}",
    );
    let found = summary_of(Options { framing: Framing::Lines, ..options(Family::Ollama) }, ollama.as_bytes(), 5);
    assert_eq!(
        (count(&found), found.model.as_deref(), found.usage_status),
        ((7, 3), Some("llama3"), UsageStatus::Complete)
    );
    assert!(found.first_token.is_some());

    let groq = concat!(
        "data: {\"model\":\"m\",\"choices\":[{\"finish_reason\":\"stop\"}],\"x_groq\":{\"id\":\"a\",\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}}\n\n",
        "data: [DONE]\n\n",
    );
    assert_eq!(count(&summary_of(options(Family::OpenAi), groq.as_bytes(), 5)), (7, 3));
}

#[test]
fn content_types_decide_the_framing() {
    for (name, framing) in [
        ("application/vnd.amazon.eventstream", Framing::Frames),
        ("text/event-stream; charset=utf-8", Framing::Events),
        ("application/x-ndjson", Framing::Lines),
        ("Application/JSON", Framing::Body),
        ("application/problem+json", Framing::Body),
        ("audio/mpeg", Framing::Unknown),
        ("", Framing::Unknown),
    ] {
        assert_eq!(Framing::of_content_type(name), framing, "{name}");
    }
}

#[test]
fn the_final_states_of_a_response_end_its_stream() {
    for (kind, is_error) in [("completed", false), ("incomplete", false), ("failed", true)] {
        let body = format!(
            "event: x\ndata: {{\"type\":\"response.{kind}\",\"response\":{{\"model\":\"m\",\"status\":\"{kind}\",\"usage\":{{\"input_tokens\":5,\"output_tokens\":7}}}}}}\n\n"
        );
        let found = summary_of(options(Family::OpenAi), body.as_bytes(), 13);
        assert_eq!((found.usage_status, found.is_error), (UsageStatus::Complete, is_error));
        assert_eq!(found.finish_reason.as_deref(), Some(kind));
    }
}

#[test]
fn a_body_is_read_and_invalid_ones_have_missing_usage() {
    let body = Options { framing: Framing::Body, ..options(Family::OpenAi) };
    let found =
        summary_of(body, br#"{"model":"m","choices":[{"finish_reason":"length"}],"usage":{"prompt_tokens":3}}"#, 9);
    assert_eq!((found.usage_status, found.usage.count(Unit::INPUT_TOKENS)), (UsageStatus::Complete, 3));
    for body_bytes in [&b"<html>"[..], b"", b"{\"usage\":", b"[1,2]", b"{\"usage\":\"many\"}"] {
        assert_eq!(summary_of(body, body_bytes, 4).usage_status, UsageStatus::Missing);
    }
    let not_gzip = Options { is_gzip: true, ..body };
    assert_eq!(summary_of(not_gzip, b"{}", 4).usage_status, UsageStatus::Missing);
}

/// A frame of Amazon's event stream with one header.
fn frame(header: (&str, &str), payload: &[u8]) -> Vec<u8> {
    let (name, value) = header;
    let mut headers = vec![name.len() as u8];
    headers.extend_from_slice(name.as_bytes());
    headers.extend_from_slice(&[7, 0, value.len() as u8]);
    headers.extend_from_slice(value.as_bytes());
    let total = (FRAME_OVERHEAD + headers.len() + payload.len()) as u32;
    let mut frame = [total.to_be_bytes(), (headers.len() as u32).to_be_bytes(), [0; 4]].concat();
    frame.extend(headers);
    frame.extend_from_slice(payload);
    frame.extend([0; 4]);
    frame
}

const FRAME_OVERHEAD: usize = 16;

#[test]
fn frames_of_amazons_event_stream_are_read() {
    let frames: Vec<Vec<u8>> = ANTHROPIC
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|json| {
            let payload = format!("{{\"bytes\":\"{}\"}}", STANDARD.encode(json));
            frame((":message-type", "event"), payload.as_bytes())
        })
        .collect();
    let aws = Options { framing: Framing::Frames, ..options(Family::Anthropic) };
    let whole = frames.concat();
    for piece in [1, 5, 100, 10_000] {
        let found = summary_of(aws, &whole, piece);
        assert_eq!((found.usage.count(Unit::INPUT_TOKENS), found.usage_status), (810, UsageStatus::Complete));
        assert!(found.first_token.is_some());
    }
    let cut = summary_of(aws, &whole[..whole.len() - 5], 9);
    assert_eq!((cut.usage.count(Unit::OUTPUT_TOKENS), cut.usage_status), (53, UsageStatus::Partial));
    let failed = [&frames[0][..], &frame((":message-type", "exception"), b"{\"message\":\"busy\"}")].concat();
    assert!(summary_of(aws, &failed, 9).is_error);
    for broken in [&[0; 40][..], b"\0\0\0\x20\xff\xff\xff\xff0123456789012345678901234567890", b"\0\0"] {
        assert_eq!(summary_of(aws, broken, 9).usage_status, UsageStatus::Missing);
    }
}

#[test]
fn invalid_other_fields_do_not_hide_the_usage() {
    let body = Options { framing: Framing::Body, ..options(Family::OpenAi) };
    for text in [
        r#"{"choices":[null],"usage":{"prompt_tokens":3}}"#,
        r#"{"choices":{"a":1},"usage":{"prompt_tokens":3}}"#,
        r#"{"model":"a","usage":null,"model":"m","usage":{"prompt_tokens":3}}"#,
        r#"{"delta":[],"error":7,"response":"text","message":3,"usage":{"prompt_tokens":3}}"#,
    ] {
        assert_eq!(summary_of(body, text.as_bytes(), 9).usage.count(Unit::INPUT_TOKENS), 3, "{text}");
    }
}

#[test]
fn the_reason_for_missing_usage_is_reported() {
    let events = options(Family::OpenAi);
    let body = Options { framing: Framing::Body, ..events };
    let unasked = "data: {\"choices\":[]}\n\ndata: [DONE]\n\n";
    for (options, text, gap) in [
        (events, unasked, Gap::Unreported),
        (events, &unasked[..25], Gap::Interrupted),
        (events, "data: {\"choices\":\n\ndata: [DONE]\n\n", Gap::Malformed),
        (events, "", Gap::Interrupted),
        (body, "{\"choices\":[]}", Gap::Unreported),
        (body, "{\"choices\":[", Gap::Interrupted),
        (body, "<html>", Gap::Malformed),
        (Options { is_gzip: true, ..body }, "no gzip, however long it is", Gap::Malformed),
    ] {
        assert_eq!(summary_of(options, text.as_bytes(), 7).gap, Some(gap), "{text}");
    }
    assert_eq!(summary_of(events, CHAT.as_bytes(), 7).gap, None);
    // A reported value that is not a count is named instead.
    let found = summary_of(body, b"{\"usage\":{\"prompt_tokens\":-1}}", 7);
    assert_eq!((found.gap, found.unreadable, found.usage_status), (None, Some("prompt_tokens"), UsageStatus::Missing));
}

#[test]
fn the_providers_own_report_is_kept_unchanged() {
    let keeping = Options { keeps_report: true, ..options(Family::OpenAi) };
    let found = summary_of(keeping, CHAT.as_bytes(), 7);
    assert_eq!(found.report.as_deref(), Some(r#"{"completion_tokens":307,"prompt_tokens":1009}"#));
}

#[test]
fn usage_of_other_models_is_billed_separately() {
    let body = Options { framing: Framing::Body, keeps_report: true, ..options(Family::OpenAi) };
    let images = concat!(
        r#"{"model":"gpt-x","tools":[{"type":"image_generation","model":"gpt-image-1"}],"usage":{"input_tokens":3,"output_tokens":5},"#,
        r#""tool_usage":{"web_search":{"num_requests":2},"image_gen":{"input_tokens":7,"input_tokens_details":{"image_tokens":0},"#,
        r#""output_tokens":11,"output_tokens_details":{"image_tokens":11,"text_tokens":0}}}}"#
    );
    let found = summary_of(body, images.as_bytes(), 9);
    assert_eq!(found.usage.count(Unit::from_name("web_searches").unwrap()), 2);
    assert_eq!(found.usage.count(Unit::INPUT_TOKENS), 3);
    let [part] = &found.parts[..] else { unreachable!() };
    assert_eq!((part.model.as_str(), part.usage.count(Unit::OUTPUT_TOKENS)), ("gpt-image-1", 11));
    assert_eq!(part.usage.count(Unit::from_name("output_image_tokens").unwrap()), 11);
    assert!(!found.report.unwrap().contains("gpt-image-1"));

    let advised = concat!(
        r#"{"model":"claude-x","usage":{"input_tokens":3,"output_tokens":5,"iterations":[{"type":"message","input_tokens":3,"output_tokens":5},"#,
        r#"{"type":"compaction","input_tokens":10,"output_tokens":20},"#,
        r#"{"type":"advisor_message","model":"claude-y","input_tokens":7,"cache_read_input_tokens":11,"output_tokens":13}]}}"#
    );
    let found = summary_of(Options { family: Family::Anthropic, ..body }, advised.as_bytes(), 9);
    assert_eq!((found.usage.count(Unit::INPUT_TOKENS), found.usage.count(Unit::OUTPUT_TOKENS)), (13, 25));
    let [part] = &found.parts[..] else { unreachable!() };
    assert_eq!((part.model.as_str(), part.usage.count(Unit::INPUT_TOKENS)), ("claude-y", 18));
}

#[test]
fn content_parts_are_recognized_without_parsing() {
    for part in [
        r#"{"id":"c","choices":[{"delta":{"content":"a"},"finish_reason":null}],"usage":null}"#,
        r#"{"choices":[{"delta":{"content":"\"usage\": {\"error\": 1}"}}], "usage" : null}"#,
        r#"{"type":"content_block_delta","delta":{"text":"a"}}"#,
        r#"{"type":"response.output_text.delta","delta":"a"}"#,
    ] {
        assert!(is_content_delta(part.as_bytes()), "{part}");
    }
    for report in [
        r#"{"choices":[{"finish_reason":"stop"}],"usage":null}"#,
        r#"{"choices":[{"finish_reason":null}],"usage":{}}"#,
        r#"{"type":"message_delta","delta":{}}"#,
        r#"{"type":"error"}"#,
        r#"{"error":{}}"#,
        r#"{"type":"response.failed","response":{"usage":null}}"#,
        r#"{"x_groq":{"usage":null}}"#,
    ] {
        assert!(!is_content_delta(report.as_bytes()), "{report}");
    }
}

#[test]
fn an_interaction_of_gemini_is_read() {
    let stream = concat!(
        "event: interaction.created\ndata: {\"event_type\":\"interaction.created\",\"interaction\":{\"id\":\"i\",\"model\":\"gemini-x\"}}\n\n",
        "event: step.delta\ndata: {\"event_type\":\"step.delta\",\"delta\":{\"type\":\"text\",\"text\":\"a\"}}\n\n",
        "event: interaction.completed\ndata: {\"event_type\":\"interaction.completed\",\"interaction\":{\"status\":\"completed\",\"usage\":",
        "{\"total_input_tokens\":7,\"total_output_tokens\":3,\"total_thought_tokens\":5,\"total_cached_tokens\":2,\"total_tokens\":15,",
        "\"input_tokens_by_modality\":[{\"modality\":\"image\",\"tokens\":4}]}}}\n\n",
    );
    let found = summary_of(options(Family::Gemini), stream.as_bytes(), 9);
    let counts: Vec<_> = found.usage.iter().map(|(unit, count)| (unit.name(), count)).collect();
    assert_eq!((found.model.as_deref(), found.usage_status), (Some("gemini-x"), UsageStatus::Complete));
    assert_eq!(counts[..3], [("input_tokens", 7), ("output_tokens", 8), ("cache_read_tokens", 2)]);
    assert!(found.first_token.is_some());
}

/// A gzip stream of this many identical megabytes.
fn bomb(before: &[u8], megabytes: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(before).unwrap();
    let filler = vec![b' '; 1 << 20];
    (0..megabytes).for_each(|_| encoder.write_all(&filler).unwrap());
    encoder.finish().unwrap()
}

#[test]
fn a_decompression_bomb_is_malformed_and_passed_on() {
    for framing in [Framing::Body, Framing::Events, Framing::Lines] {
        let found = summary_of(
            Options { framing, is_gzip: true, ..options(Family::OpenAi) },
            &bomb(b"{\"usage\":", 200),
            usize::MAX,
        );
        assert_eq!((found.usage_status, found.gap), (UsageStatus::Missing, Some(Gap::Malformed)), "{framing:?}");
    }
    // The client, which requested it, still gets everything.
    let mut scanner = Scanner::new(Options { is_gzip: true, strips_usage: true, ..options(Family::OpenAi) });
    let mut passed = scanner.feed(&bomb(CHAT.as_bytes(), 100)).unwrap();
    passed.extend(scanner.finish_bytes().unwrap());
    let mut plain = MultiGzDecoder::new(Vec::new());
    plain.write_all(&passed).unwrap();
    let plain = plain.finish().unwrap();
    assert!(plain.len() > 100 << 20 && plain.starts_with(b"data: {\"model\""));
    assert_eq!(scanner.finish().usage.count(Unit::INPUT_TOKENS), 1009);
    // A stream with ordinary repetition is read to its end.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for part in 0..500_000 {
        write!(encoder, "data: {{\"id\":\"chatcmpl-{}\",\"choices\":[{{\"delta\":{{\"content\":\"{part}\"}}}}],\"usage\":null}}\n\n", 7)
            .unwrap();
    }
    encoder.write_all(CHAT.as_bytes()).unwrap();
    let found =
        summary_of(Options { is_gzip: true, ..options(Family::OpenAi) }, &encoder.finish().unwrap(), usize::MAX);
    assert_eq!((found.usage.count(Unit::INPUT_TOKENS), found.usage_status), (1009, UsageStatus::Complete));
}

#[test]
fn usage_that_is_too_large_is_malformed() {
    let body = Options { framing: Framing::Body, ..options(Family::OpenAi) };
    let keys: Vec<_> = (0..100_000).map(|n| format!("\"k{n}\":1")).collect();
    let huge = format!("{{\"usage\":{{\"prompt_tokens\":3,{}}}}}", keys.join(","));
    let found = summary_of(body, huge.as_bytes(), usize::MAX);
    assert_eq!((found.usage_status, found.gap), (UsageStatus::Missing, Some(Gap::Malformed)));
    // The same over many events.
    let mut scanner = Scanner::new(options(Family::OpenAi));
    for keys in keys.chunks(100) {
        scanner.feed(format!("data: {{\"usage\":{{{}}}}}\n\n", keys.join(",")).as_bytes());
    }
    assert_eq!(scanner.finish().gap, Some(Gap::Malformed));
    // A report as large as the largest known one is read.
    let some = format!("{{\"usage\":{{\"prompt_tokens\":3,{}}}}}", keys[..1000].join(","));
    assert_eq!(summary_of(body, some.as_bytes(), 999).usage.count(Unit::INPUT_TOKENS), 3);
}

#[test]
fn long_texts_are_cut_and_deep_ones_are_read_to_a_depth() {
    let body = Options { framing: Framing::Body, ..options(Family::OpenAi) };
    for (unit, plain) in [("x", "x"), ("é", "é"), ("\\u00e9", "é"), ("\\\\", "\\"), ("\\ud83d\\ude00", "\u{1f600}")]
    {
        for pad in 0..7 {
            let text = format!(
                "{{\"model\":\"{}{}\",\"usage\":{{\"prompt_tokens\":3}}}}",
                "a".repeat(pad),
                unit.repeat(100_000)
            );
            let found = summary_of(body, text.as_bytes(), usize::MAX);
            let model = found.model.unwrap();
            assert!((600..=4096).contains(&model.len()), "{unit} {}", model.len());
            assert_eq!(model[pad..].replace(plain, ""), "", "{unit}");
            assert_eq!(found.usage.count(Unit::INPUT_TOKENS), 3);
        }
    }
    let deep = format!("{}{}", "{\"message\":".repeat(1_000_000), "}".repeat(1_000_000));
    assert_eq!(summary_of(body, deep.as_bytes(), usize::MAX).gap, Some(Gap::Malformed));
    let deep =
        format!("{}1{},\"usage\":{{\"prompt_tokens\":3}}}}", "{\"message\":".repeat(1_000_000), "}".repeat(999_999));
    assert_eq!(summary_of(body, deep.as_bytes(), usize::MAX).usage.count(Unit::INPUT_TOKENS), 3);
}

#[test]
fn invalid_utf_8_does_not_hide_the_usage() {
    let body = Options { framing: Framing::Body, ..options(Family::OpenAi) };
    let found = summary_of(
        body,
        b"{\"choices\":[{\"text\":\"\xff\"}],\"model\":\"a\xffb\",\"usage\":{\"prompt_tokens\":3}}",
        5,
    );
    assert_eq!((found.usage.count(Unit::INPUT_TOKENS), found.model.as_deref()), (3, Some("a\u{fffd}b")));
}

proptest! {
    #[test]
    fn arbitrary_frames_do_not_cause_a_panic(bytes in prop::collection::vec(prop_oneof![Just(0_u8), 0_u8..40, any::<u8>()], 0..200)) {
        let _ = summary_of(Options { framing: Framing::Frames, ..options(Family::Anthropic) }, &bytes, 7);
    }

    #[test]
    fn all_bytes_except_usage_chunks_pass_unchanged(
        bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'd'), any::<u8>()], 0..400), piece in 1_usize..50,
    ) {
        for framing in [Framing::Events, Framing::Lines, Framing::Frames, Framing::Body] {
            let mut scanner = Scanner::new(Options { strips_usage: true, framing, ..options(Family::OpenAi) });
            let mut passed: Vec<u8> = bytes.chunks(piece).flat_map(|bytes| scanner.feed(bytes).unwrap()).collect();
            passed.extend(scanner.finish_bytes().unwrap());
            prop_assert_eq!(&passed, &bytes);
            let _ = scanner.finish();
        }
    }
}
