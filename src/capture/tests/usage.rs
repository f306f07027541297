//! Usage objects of every format, and which of their counts include others.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn counts(report: &Value, family: Option<Family>) -> Vec<(&'static str, u64)> {
    normalize(report, family, Dialect::Plain).unwrap().usage.iter().map(|(unit, count)| (unit.name(), count)).collect()
}

#[test]
fn openai_totals_include_their_parts_as_reported() {
    let chat = json!({"prompt_tokens": 1009, "completion_tokens": 307, "total_tokens": 1316,
        "prompt_tokens_details": {"cached_tokens": 503, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 101}});
    let expected =
        [("input_tokens", 1009), ("output_tokens", 307), ("cache_read_tokens", 503), ("output_reasoning_tokens", 101)];
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
fn absent_fields_are_left_out_and_invalid_ones_are_named() {
    for report in [json!(null), json!([1]), json!({}), json!({"input_tokens": null}), json!({"bananas": 3})] {
        assert_eq!(normalize(&report, None, Dialect::Plain), None, "{report}");
    }
    for (report, field) in [
        (json!({"prompt_tokens": -5, "completion_tokens": 3}), "prompt_tokens"),
        (json!({"prompt_tokens": "7"}), "prompt_tokens"),
        (json!({"input_tokens": 1.5}), "input_tokens"),
        (json!({"promptTokenCount": -5, "candidatesTokenCount": 3}), "promptTokenCount"),
        (json!({"inputTokens": 5.5}), "inputTokens"),
        (json!({"prompt_tokens": 5, "prompt_tokens_details": 7}), "prompt_tokens_details"),
        (json!({"input_tokens": 5, "server_tool_use": {"web_search_requests": -3}}), "web_search_requests"),
    ] {
        assert_eq!(normalize(&report, None, Dialect::Plain).unwrap().unreadable, Some(field), "{report}");
    }
}

#[test]
fn two_names_of_one_quantity_are_not_added() {
    let report = json!({"prompt_tokens": 100, "completion_tokens": 50, "reasoning_tokens": 30, "cache_read_input_tokens": 40,
        "prompt_tokens_details": {"cached_tokens": 40}, "completion_tokens_details": {"reasoning_tokens": 30}});
    let expected =
        [("input_tokens", 100), ("output_tokens", 50), ("cache_read_tokens", 40), ("output_reasoning_tokens", 30)];
    assert_eq!(counts(&report, None), expected);
}

#[test]
fn the_usage_of_compaction_is_added() {
    let report = json!({"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 0, "iterations": [
        {"type": "compaction", "input_tokens": 5000, "output_tokens": 700}, {"type": "message", "input_tokens": 10, "output_tokens": 5}]});
    assert_eq!(counts(&report, Some(Family::Anthropic)), [("input_tokens", 5010), ("output_tokens", 705)]);
}

#[test]
fn r7_cache_lifetimes_are_read_through_a_gateway() {
    let report = json!({"prompt_tokens": 1000, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 0,
        "cache_creation_token_details": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 300}}});
    let expected =
        [("input_tokens", 1000), ("output_tokens", 5), ("cache_write_tokens", 300), ("cache_write_1h_tokens", 300)];
    assert_eq!(counts(&report, None), expected);
}

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

#[test]
fn r26_reported_costs_are_exact_and_zero_is_kept() {
    let cost = |report: Value, dialect| normalize(&report, None, dialect).unwrap().cost;
    let openrouter = json!({"prompt_tokens": 194, "completion_tokens": 2, "cost": 0.000_021, "is_byok": false,
        "cost_details": {"upstream_inference_cost": 0.000_021}});
    assert_eq!(cost(openrouter.clone(), Dialect::OpenRouter), Some(usd("0.000021")));
    assert_eq!(cost(openrouter, Dialect::Plain), None);
    let byok =
        json!({"prompt_tokens": 194, "cost": 0, "is_byok": true, "cost_details": {"upstream_inference_cost": 0.02}});
    assert_eq!(cost(byok, Dialect::OpenRouter), Some(usd("0.02")));
    assert_eq!(cost(json!({"prompt_tokens": 1, "cost": 0}), Dialect::OpenRouter), Some(usd("0")));
    assert_eq!(cost(json!({"prompt_tokens": 1, "cost": -1}), Dialect::OpenRouter), None);
    let unknown =
        json!({"prompt_tokens": 1, "cost": 0, "is_byok": true, "cost_details": {"upstream_inference_cost": null}});
    assert_eq!(cost(unknown, Dialect::OpenRouter), None);
    // More decimals than an amount has: rounded to the last one.
    let fine = json!({"prompt_tokens": 1, "cost": 1.234_567_890_123_456_7e-9});
    assert_eq!(cost(fine, Dialect::OpenRouter), Some(usd("0.000000001234567890123457")));
    assert_eq!(
        cost(json!({"prompt_tokens": 1, "cost": {"total_cost": 0.006}}), Dialect::Perplexity),
        Some(usd("0.006"))
    );
    assert_eq!(
        cost(json!({"prompt_tokens": 1, "cost_in_usd_ticks": 37_756_000}), Dialect::XAi),
        Some(usd("0.0037756"))
    );
}

#[test]
fn r5_reasoning_is_added_to_the_answer_if_the_total_requires_it() {
    let report = |total: u64| {
        json!({"prompt_tokens": 119, "completion_tokens": 9, "total_tokens": total,
            "completion_tokens_details": {"reasoning_tokens": 98}})
    };
    let output = |report: &Value, dialect| normalize(report, None, dialect).unwrap().usage.count(Unit::OUTPUT_TOKENS);
    assert_eq!(output(&report(226), Dialect::Plain), 107);
    assert_eq!(output(&report(128), Dialect::XAi), 9);
    assert_eq!(output(&report(1), Dialect::XAi), 107);
    assert_eq!(output(&report(1), Dialect::Plain), 9);
}

#[test]
fn r6_the_total_decides_about_geminis_tool_use() {
    let report = |total: u64| {
        json!({"promptTokenCount": 100, "candidatesTokenCount": 20, "thoughtsTokenCount": 7, "toolUsePromptTokenCount": 50,
            "totalTokenCount": total})
    };
    let totals = |report: Value| {
        let usage = normalize(&report, None, Dialect::Plain).unwrap().usage;
        (usage.count(Unit::INPUT_TOKENS), usage.count(Unit::OUTPUT_TOKENS))
    };
    assert_eq!(totals(report(177)), (150, 27));
    assert_eq!(totals(report(127)), (100, 27));
    assert_eq!(totals(report(0)), (150, 27));
}

#[test]
fn r1_converse_input_includes_the_cache_only_if_the_total_shows_it() {
    let input = |input: u64, total: u64| {
        let report = json!({"inputTokens": input, "outputTokens": 10, "totalTokens": total, "cacheReadInputTokens": 600,
            "cacheWriteInputTokens": 100});
        normalize(&report, None, Dialect::Plain).unwrap().usage.count(Unit::INPUT_TOKENS)
    };
    assert_eq!(input(300, 1010), 1000);
    assert_eq!(input(1000, 1010), 1000);
    assert_eq!(input(300, 310), 1000);
}

#[test]
fn r2_a_gateway_that_already_adds_anthropics_cache_is_not_added_to_again() {
    let litellm = json!({"prompt_tokens": 1020, "completion_tokens": 5, "cache_read_input_tokens": 708,
        "cache_creation_input_tokens": 211});
    let expected =
        [("input_tokens", 1020), ("output_tokens", 5), ("cache_read_tokens", 708), ("cache_write_tokens", 211)];
    assert_eq!(counts(&litellm, None), expected);
    let langchain = json!({"input_tokens": 1020, "output_tokens": 5, "total_tokens": 1025,
        "input_token_details": {"cache_read": 708, "cache_creation": 211}});
    assert_eq!(counts(&langchain, None), expected);
    let otel = json!({"gen_ai.usage.input_tokens": 1020, "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 708, "gen_ai.usage.cache_creation.input_tokens": 211});
    assert_eq!(counts(&otel, None), expected);
}

proptest! {
    #[test]
    fn r3_disjoint_parts_sum_to_what_was_billed(
        fresh in 0_u64..1_000_000, read in 0_u64..1_000_000, short in 0_u64..100_000, long in 0_u64..100_000,
        answer in 0_u64..100_000, thoughts in 1_u64..100_000,
    ) {
        let written = short + long;
        let (input, output) = (fresh + read + written, answer + thoughts);
        let reports = [
            json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
                "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
                "completion_tokens_details": {"reasoning_tokens": thoughts}}),
            json!({"input_tokens": input, "output_tokens": output,
                "input_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
                "output_tokens_details": {"reasoning_tokens": thoughts}}),
            json!({"input_tokens": fresh, "output_tokens": output, "cache_read_input_tokens": read,
                "cache_creation_input_tokens": written,
                "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
                "output_tokens_details": {"thinking_tokens": thoughts}}),
            json!({"inputTokens": fresh, "outputTokens": output, "totalTokens": input + output, "cacheReadInputTokens": read,
                "cacheWriteInputTokens": written}),
            json!({"input_tokens": input, "output_tokens": output, "total_tokens": input + output,
                "input_token_details": {"cache_read": read, "cache_creation": written},
                "output_token_details": {"reasoning": thoughts}}),
        ];
        for report in &reports {
            let usage = normalize(report, None, Dialect::Plain).unwrap().usage;
            prop_assert_eq!(usage.count(Unit::INPUT_TOKENS), input, "{}", report);
            prop_assert_eq!(usage.count(Unit::OUTPUT_TOKENS), output, "{}", report);
            prop_assert_eq!(usage.count(Unit::CACHE_READ_TOKENS), read, "{}", report);
            prop_assert_eq!(usage.count(Unit::CACHE_WRITE_TOKENS), written, "{}", report);
            let exceeds = |part: &str, total: Unit| usage.count(Unit::from_name(part).unwrap()) > usage.count(total);
            prop_assert!(!exceeds("output_reasoning_tokens", Unit::OUTPUT_TOKENS));
            prop_assert!(!exceeds("cache_write_1h_tokens", Unit::CACHE_WRITE_TOKENS));
        }
        let gemini = json!({"promptTokenCount": fresh + read, "cachedContentTokenCount": read, "candidatesTokenCount": answer,
            "thoughtsTokenCount": thoughts, "totalTokenCount": fresh + read + output});
        let usage = normalize(&gemini, None, Dialect::Plain).unwrap().usage;
        prop_assert_eq!(usage.count(Unit::INPUT_TOKENS), fresh + read);
        prop_assert_eq!(usage.count(Unit::OUTPUT_TOKENS), output);
    }
}
