use super::super::conditions::Conditions;
use super::*;
use crate::event::{Unit, Usage};
use crate::money::Usd;
use proptest::prelude::*;

const NOW: u64 = 1_795_300_000_000_000_000;

fn usage(counts: &[(&str, u64)]) -> Usage {
    let mut usage = Usage::default();
    for (name, count) in counts {
        usage.set(Unit::from_name(name).unwrap(), *count);
    }
    usage
}

fn plain_book() -> Book {
    Book::new(Catalog::embedded(), None, Overrides::default())
}

fn book(overrides: &str) -> Book {
    Book::new(Catalog::embedded(), None, Overrides::parse(overrides).unwrap())
}

fn price(book: &Book, provider: Option<&str>, model: &str, counts: &[(&str, u64)]) -> Cost {
    priced(book, provider, model, counts, Conditions::default()).unwrap()
}

fn priced(
    book: &Book,
    provider: Option<&str>,
    model: &str,
    counts: &[(&str, u64)],
    conditions: Conditions<'_>,
) -> Result<Cost, PriceError> {
    book.price(&Request { provider, model, usage: &usage(counts), started_at: NOW, conditions })
}

fn dollars(cost: &Cost) -> Option<String> {
    cost.usd.map(|usd| usd.to_string())
}

fn notes(cost: &Cost) -> Vec<&'static str> {
    cost.notes.names().collect()
}

const MILLION: [(&str, u64); 1] = [("input_tokens", 1_000_000)];

#[test]
fn r3_a_token_is_charged_once_at_its_most_specific_rate() {
    let counts = [("input_tokens", 1200), ("cache_read_tokens", 800), ("output_tokens", 350)];
    // 400 × 2.5 + 800 × 1.25 + 350 × 10, per million.
    assert_eq!(dollars(&price(&plain_book(), Some("openai"), "gpt-4o", &counts)).unwrap(), "0.0055");
}

#[test]
fn r3_parts_above_their_total_are_rejected_by_name() {
    let counts =
        [("input_tokens", 5), ("cache_read_tokens", 4), ("input_audio_tokens", 2), ("cache_audio_read_tokens", 0)];
    let error = priced(&plain_book(), Some("openai"), "gpt-realtime", &counts, Conditions::default()).unwrap_err();
    assert_eq!(error, PriceError::PartsExceedTotal(Unit::INPUT_TOKENS));
}

#[test]
fn r4_an_unreported_overlap_is_an_error() {
    let counts = [("input_tokens", 50), ("cache_read_tokens", 4), ("input_audio_tokens", 2)];
    let error = priced(&plain_book(), Some("openai"), "gpt-realtime", &counts, Conditions::default()).unwrap_err();
    assert!(error.to_string().starts_with("cache_audio_read_tokens is needed"), "{error}");
    // The user's rates have none for the overlap.
    let rules = r#"{"rates":{"m":{"input_tokens":{"per_1m":"5"},"cache_read_tokens":{"per_1m":"0.1"},"input_audio_tokens":{"per_1m":"9"}}}}"#;
    let with = |overlap: Option<u64>| {
        let mut counts = counts.to_vec();
        counts.extend(overlap.map(|overlap| ("cache_audio_read_tokens", overlap)));
        priced(&book(rules), Some("x"), "m", &counts, Conditions::default()).map(|cost| dollars(&cost))
    };
    assert!(with(None).is_err() && with(Some(2)).is_err());
    // 44 × 5 + 4 × 0.1 + 2 × 9, per million.
    assert_eq!(with(Some(0)).unwrap().unwrap(), "0.0002384");
}

#[test]
fn r3_a_part_above_a_total_is_rejected_even_if_neither_is_charged() {
    for (part, total) in [("output_reasoning_tokens", "output_tokens"), ("input_audio_tokens", "input_tokens")] {
        let counts = [(part, 50), (total, 10)];
        let error = priced(&plain_book(), Some("openai"), "gpt-4o", &counts, Conditions::default()).unwrap_err();
        assert!(error.to_string().starts_with(part), "{error}");
    }
}

#[test]
fn r8_cached_tokens_without_a_rate_are_charged_as_input_with_a_remark() {
    let rules = r#"{"rates":{"m":{"input_tokens":{"per_1m":"2"},"output_tokens":{"per_1m":"4"}}}}"#;
    let counts = [("input_tokens", 1_000_000), ("cache_read_tokens", 400_000)];
    let cost = price(&book(rules), Some("x"), "m", &counts);
    assert_eq!((dollars(&cost).unwrap().as_str(), notes(&cost)), ("2", vec!["cache_at_input_rate"]));
}

#[test]
fn r9_audio_without_a_rate_is_charged_as_text_with_a_remark() {
    let rules = r#"{"rates":{"m":{"input_tokens":{"per_1m":"2"}}}}"#;
    let counts = [("input_tokens", 1_000_000), ("input_audio_tokens", 1_000_000)];
    let cost = price(&book(rules), Some("x"), "m", &counts);
    assert_eq!((dollars(&cost).unwrap().as_str(), notes(&cost)), ("2", vec!["modality_at_text_rate"]));
}

#[test]
fn r11_one_threshold_reprices_every_token() {
    let cost = |input| {
        let counts = [("input_tokens", input), ("output_tokens", 100)];
        dollars(&price(&plain_book(), Some("anthropic"), "claude-sonnet-4-5", &counts)).unwrap()
    };
    assert_eq!(cost(200_000), "0.6015");
    assert_eq!(cost(200_001), "1.202256");
}

#[test]
fn r12_rows_are_valid_by_day_hour_and_weekday() {
    let rules = r#"{"rates":{"m":[
        {"rates":{"input_tokens":{"per_1m":"1"}}},
        {"from":"2026-11-01","rates":{"input_tokens":{"per_1m":"2"}}},
        {"from":"2026-11-01","window":["08:00","12:00"],"days":["mon","tue","wed","thu","fri"],"rates":{"input_tokens":{"per_1m":"4"}}}
    ]}}"#;
    let book = book(rules);
    let at = |time: &str| {
        let seconds = humantime::parse_rfc3339(time).unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
        let usage = usage(&MILLION);
        let request = Request {
            provider: Some("x"),
            model: "m",
            usage: &usage,
            started_at: seconds.as_nanos() as u64,
            conditions: Conditions::default(),
        };
        dollars(&book.price(&request).unwrap()).unwrap()
    };
    assert_eq!(at("2026-10-31T23:59:59Z"), "1");
    assert_eq!(at("2026-11-01T00:00:00Z"), "2");
    assert_eq!(at("2026-11-06T08:00:00Z"), "4"); // a Friday
    assert_eq!(at("2026-11-06T12:00:00Z"), "2");
    assert_eq!(at("2026-11-07T09:00:00Z"), "2");
}

#[test]
fn r14_r15_tiers_and_batches_have_their_own_rates_or_a_remark() {
    let book = plain_book();
    let cost = |model, conditions| priced(&book, Some("openai"), model, &MILLION, conditions).unwrap();
    let tier = |service_tier| Conditions { service_tier: Some(service_tier), ..Conditions::default() };
    let batch = Conditions { batch: true, ..Conditions::default() };
    assert_eq!(dollars(&cost("gpt-4o", batch)).unwrap(), "1.25");
    assert_eq!(dollars(&cost("gpt-4o", tier("batch"))).unwrap(), "1.25");
    assert_eq!(dollars(&cost("gpt-4o", tier("priority"))).unwrap(), "4.25");
    // Aliases and dated snapshots have the tier's rates, too.
    assert_eq!(dollars(&cost("gpt-4o-2024-08-06", tier("priority"))).unwrap(), "4.25");
    for ordinary in ["default", "auto", "standard"] {
        let cost = cost("gpt-4o", tier(ordinary));
        assert_eq!((dollars(&cost).unwrap().as_str(), notes(&cost)), ("2.5", vec![]), "{ordinary}");
    }
    assert_eq!(notes(&cost("gpt-4o", tier("ultra"))), ["tier_without_rates"]);
    assert_eq!(notes(&cost("gpt-3.5-turbo", tier("flex"))), ["tier_without_rates"]);
    let misspelled = Conditions { further: &[("procesing", "batch")], ..Conditions::default() };
    assert_eq!(notes(&cost("gpt-4o", misspelled)), ["context_without_rates"]);
}

#[test]
fn r16_variants_do_not_apply_to_a_provider_that_falls_back() {
    let batch = Conditions { batch: true, ..Conditions::default() };
    let cost = priced(&plain_book(), Some("azure"), "gpt-4o", &MILLION, batch).unwrap();
    assert_eq!(dollars(&cost).unwrap(), "2.5");
    assert_eq!(notes(&cost), ["batch_without_rates", "fallback_provider"]);
}

#[test]
fn r17_the_region_comes_from_the_profile_or_the_caller() {
    let book = plain_book();
    let region = |region| Conditions { region: Some(region), ..Conditions::default() };
    let cost = |model, conditions| priced(&book, Some("bedrock"), model, &MILLION, conditions).unwrap();
    assert_eq!(dollars(&cost("global.anthropic.claude-opus-5-5", Conditions::default())).unwrap(), "4");
    assert_eq!(dollars(&cost("anthropic.claude-opus-5-5", Conditions::default())).unwrap(), "4.4");
    assert_eq!(dollars(&cost("anthropic.claude-opus-5-5", region("global"))).unwrap(), "4");
    assert!(notes(&cost("eu.anthropic.claude-opus-5-5", region("eu-west-1"))).is_empty());
    assert_eq!(notes(&cost("anthropic.claude-opus-5-5", region("us-gov-west-1"))), ["region_without_rates"]);
    let arn = "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.amazon.nova-pro-v1:0";
    for nova in ["eu.amazon.nova-pro-v1:0", "bedrock/eu.amazon.nova-pro-v1:0", arn] {
        assert_eq!(notes(&cost(nova, Conditions::default())), ["region_without_rates"], "{nova}");
    }
    let anthropic = priced(&book, Some("anthropic"), "claude-sonnet-4-5", &MILLION, region("us")).unwrap();
    assert_eq!(notes(&anthropic), ["region_without_rates"]);
    // The user's rates come first, wherever the call is routed.
    let own = self::book(
        r#"{"rates":{"bedrock/anthropic.claude-opus-5-5":{"input_tokens":{"per_1m":"1"}}},"multipliers":{"bedrock/*":"2"}}"#,
    );
    let routed = priced(&own, Some("bedrock"), "anthropic.claude-opus-5-5", &MILLION, region("global")).unwrap();
    assert_eq!(dollars(&routed).unwrap(), "2");
}

#[test]
fn r19_rates_come_before_aliases_and_both_before_the_catalog() {
    let rules = r#"{"rates":{"openai/gpt-4o":{"input_tokens":{"per_1m":"1"}},"mine":{"input_tokens":{"per_1m":"7"}}},
        "aliases":{"azure/prod":"openai/gpt-4.1","azure/tuned":"mine","azure/nowhere":"openai/no-such-model","gpt-4o-mini":"gpt-4o"}}"#;
    let book = book(rules);
    let found = |provider, model| {
        let cost = price(&book, Some(provider), model, &MILLION);
        (dollars(&cost), cost.status.name(), cost.found.map(|found| found.kind.name()))
    };
    let usd = |text: &str| Some(text.to_owned());
    // The response names the snapshot, and the user's rate is for the model.
    assert_eq!(found("openai", "gpt-4o-2024-08-06"), (usd("1"), "manual", Some("override")));
    assert_eq!(found("azure", "gpt-4o"), (usd("2.5"), "priced", Some("exact")));
    assert_eq!(found("azure", "prod"), (usd("2"), "priced", Some("override")));
    assert_eq!(found("azure", "tuned"), (usd("7"), "manual", Some("override")));
    assert_eq!(found("azure", "nowhere"), (None, "unpriced", None));
    assert_eq!(found("openai", "gpt-4o-mini"), (usd("1"), "manual", Some("override")));
    // No provider is given: the prefix of the name counts.
    assert_eq!(dollars(&price(&book, None, "gpt-4o", &MILLION)), usd("1"));
    assert_eq!(dollars(&price(&book, None, "openai/gpt-4o", &MILLION)), usd("1"));
}

#[test]
fn r19_a_rule_for_one_provider_does_not_apply_to_another() {
    let book = book(
        r#"{"rates":{"openai/gpt-4o":{"input_tokens":{"per_1m":"1"}},"mine/m":{"input_tokens":{"per_1m":"7"}}},
        "multipliers":{"anthropic/*":"0.5"}}"#,
    );
    let cost = |provider, model| price(&book, provider, model, &MILLION);
    assert_eq!(dollars(&cost(Some("openrouter"), "openai/gpt-4o")).unwrap(), "2.5");
    assert_eq!(cost(Some("openrouter"), "anthropic/claude-sonnet-4.5").status, CostStatus::Priced);
    assert_eq!(dollars(&cost(Some("openai"), "openai/gpt-4o")).unwrap(), "1");
    assert_eq!(dollars(&cost(Some("mine"), "m")).unwrap(), "7");
    assert_eq!(dollars(&cost(None, "mine/m")).unwrap(), "7");
    assert_eq!(cost(Some("other"), "m").usd, None);
}

#[test]
fn r16_variants_do_not_apply_through_an_alias() {
    let book = book(r#"{"aliases":{"azure/prod":"openai/gpt-4.1"}}"#);
    let batch = Conditions { batch: true, ..Conditions::default() };
    let cost = priced(&book, Some("azure"), "prod", &MILLION, batch).unwrap();
    assert_eq!(
        (dollars(&cost).unwrap().as_str(), notes(&cost)),
        ("2", vec!["batch_without_rates", "fallback_provider"])
    );
}

#[test]
fn multipliers_change_every_rate_and_the_origin_shows_it() {
    let book = book(r#"{"rates":{"mine":{"input_tokens":{"per_1m":"7"}}},"multipliers":{"openai/*":"0.9","*":"2"}}"#);
    let cost = price(&book, Some("openai"), "gpt-4o", &[("input_tokens", 1000), ("output_tokens", 100)]);
    assert_eq!((dollars(&cost).unwrap().as_str(), cost.status), ("0.00315", CostStatus::Manual));
    assert_eq!(cost.input.unwrap() + cost.output.unwrap(), cost.usd.unwrap());
    let found = cost.found.unwrap();
    assert!(book.origin(found).starts_with("genai-prices-") && book.origin(found).contains("+override-"));
    assert_eq!(book.multiplier(found), Some(("openai/*", 900_000)));
    let own = price(&book, Some("x"), "mine", &MILLION);
    assert_eq!(dollars(&own).unwrap(), "14");
    assert!(book.origin(own.found.unwrap()).starts_with("override-"));
}

#[test]
fn r20_r29_unknown_models_have_no_cost_and_free_models_cost_zero() {
    let book = plain_book();
    let unknown = price(&book, Some("openai"), "no-such-model", &MILLION);
    assert_eq!((unknown.usd, unknown.status, unknown.found), (None, CostStatus::Unpriced, None));
    assert_eq!(price(&book, Some("openai"), "gpt-4o", &[]).usd, None);
    for model in ["gpt-4o-v2", "gpt-4o@my-tune", "gpt-4o[experimental]", "tunedModels/gemini-2.5-pro-abc"] {
        for provider in ["openai", "gemini"] {
            assert_eq!(price(&book, Some(provider), model, &MILLION).usd, None, "{provider} {model}");
        }
    }
    for model in ["claude-zeta-9", "anthropic/claude-opus-9"] {
        assert_eq!(price(&book, None, model, &MILLION).usd, None, "{model}");
    }
    let no_rate = price(&book, Some("openai"), "gpt-4o", &[("input_pixels", 5)]);
    assert_eq!((no_rate.usd, no_rate.status), (None, CostStatus::Unpriced));
    let free = price(&book, Some("x"), "m", &[]);
    assert_eq!(free.usd, None);
    let zero = self::book(r#"{"multipliers":{"*":"0"}}"#);
    assert_eq!(dollars(&price(&zero, Some("openai"), "gpt-4o", &MILLION)).unwrap(), "0");
}

#[test]
fn r22_a_deployment_without_an_alias_is_unpriced() {
    assert_eq!(price(&plain_book(), Some("azure"), "prod-chat-eu", &MILLION).usd, None);
}

#[test]
fn r23_system_profiles_identify_a_model_and_account_profiles_do_not() {
    let book = plain_book();
    let system = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-5-5-v1:0";
    assert_eq!(dollars(&price(&book, Some("bedrock"), system, &MILLION)).unwrap(), "4.4");
    let own = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/us.anthropic.claude-opus-5-5-v1";
    assert_eq!(price(&book, Some("bedrock"), own, &MILLION).usd, None);
    let mapped = self::book(&format!(r#"{{"aliases":{{"{own}":"bedrock/global.anthropic.claude-opus-5-5"}}}}"#));
    assert_eq!(dollars(&price(&mapped, Some("bedrock"), own, &MILLION)).unwrap(), "4");
}

#[test]
fn r24_a_fine_tuned_model_has_its_own_rate_or_none() {
    let book = plain_book();
    assert_eq!(dollars(&price(&book, Some("openai"), "ft:gpt-4o-2024-08-06:acme::id", &MILLION)).unwrap(), "3.75");
    for unlisted in ["ft:gpt-4.1-2025-04-14:acme::id", "ft:o4-mini-2025-04-16:acme::id", "openai/ft:gpt-4.1:acme::id"] {
        assert_eq!(price(&book, Some("openai"), unlisted, &MILLION).usd, None, "{unlisted}");
    }
}

#[test]
fn r25_marks_versions_and_routes_do_not_change_the_price() {
    let book = plain_book();
    let plain = price(&book, Some("anthropic"), "claude-opus-5-5", &MILLION).usd.unwrap();
    for written in ["claude-opus-5-5[1m]", "claude-opus-5-5@20260901", "anthropic/claude-opus-5-5", "CLAUDE-OPUS-5-5"] {
        assert_eq!(price(&book, Some("anthropic"), written, &MILLION).usd, Some(plain), "{written}");
    }
    let bedrock = price(&book, Some("bedrock"), "eu.anthropic.claude-opus-5-5-v1:0", &MILLION).usd;
    assert_eq!(price(&book, Some("bedrock"), "bedrock/eu.anthropic.claude-opus-5-5-v1:0", &MILLION).usd, bedrock);
    let gemini = price(&book, Some("gemini"), "gemini-2.5-pro", &MILLION).usd;
    assert_eq!(price(&book, Some("gemini"), "models/gemini-2.5-pro", &MILLION).usd, gemini);
}

#[test]
fn audio_is_billed_for_a_minimum_time() {
    let cost = |seconds: u64| {
        let counts = [("audio_seconds", seconds * 1_000_000), ("input_audio_seconds", seconds * 1_000_000)];
        price(&plain_book(), Some("groq"), "whisper-large-v3", &counts).usd
    };
    assert!(cost(3).is_some());
    assert_eq!(cost(3), cost(10));
    assert_ne!(cost(10), cost(11));
}

#[test]
fn the_long_tail_is_used_last_and_only_if_enabled() {
    let tail = Catalog::long_tail();
    let (provider, model, _) = tail.entries().find(|(provider, ..)| *provider == "deepinfra").unwrap();
    assert_eq!(price(&plain_book(), Some(provider), model, &MILLION).usd, None);
    let book = Book::new(Catalog::embedded(), Some(Catalog::long_tail()), Overrides::default());
    let cost = price(&book, Some(provider), model, &MILLION);
    assert!(cost.usd.is_some());
    assert!(book.origin(cost.found.unwrap()).starts_with("litellm-"));
    assert!(book.origin(price(&book, Some("openai"), "gpt-4o", &MILLION).found.unwrap()).starts_with("genai-prices-"));
}

#[test]
fn the_cache_of_names_stays_small_and_correct() {
    let book = plain_book();
    for round in 0..3 {
        for n in 0..500 {
            let name = format!("no-such-model-{n}");
            assert_eq!(price(&book, Some("openai"), &name, &MILLION).usd, None, "{round}");
            assert!(price(&book, Some("openai"), "gpt-4o", &MILLION).usd.is_some());
        }
    }
}

proptest! {
    #[test]
    fn r27_lines_add_up_to_the_total_and_to_the_usage(
        read in 0_u64..1_000_000, write in 0_u64..1_000_000, fresh in 0_u64..1_000_000, output in 0_u64..1_000_000,
        millionths in 0_u64..3_000_000,
    ) {
        let counts = [
            ("input_tokens", read + write + fresh), ("cache_read_tokens", read), ("cache_write_tokens", write),
            ("output_tokens", output),
        ];
        let rules = format!(r#"{{"multipliers":{{"*":"{}.{:06}"}}}}"#, millionths / 1_000_000, millionths % 1_000_000);
        for book in [plain_book(), book(&rules)] {
            let cost = price(&book, Some("anthropic"), "claude-sonnet-4-5", &counts);
            prop_assert_eq!(cost.lines.iter().map(|line| line.amount).sum::<Usd>(), cost.usd.unwrap());
            prop_assert_eq!(cost.lines.iter().map(|line| line.count).sum::<u64>(), read + write + fresh + output);
            prop_assert_eq!(cost.input.unwrap() + cost.output.unwrap(), cost.usd.unwrap());
        }
    }

    #[test]
    fn no_name_makes_the_lookup_panic(name in ".{0,60}", provider in proptest::option::of("[a-z./]{0,12}")) {
        let book = book(r#"{"multipliers":{"gpt*":"2"},"aliases":{"é*":"gpt-4o"}}"#);
        let _ = price(&book, provider.as_deref(), &name, &MILLION);
    }
}

#[test]
fn user_rates_that_lack_a_used_unit_make_the_cost_unknown() {
    let both = [("input_tokens", 1_000_000), ("output_tokens", 1_000_000)];
    let part = book(r#"{"rates":{"openai/gpt-4o":{"input_tokens":{"per_1m":"2"}}}}"#);
    let cost = price(&part, Some("openai"), "gpt-4o", &both);
    assert_eq!((cost.usd, cost.status, notes(&cost)), (None, CostStatus::Unpriced, vec!["unit_without_rate"]));
    assert_eq!(dollars(&price(&part, Some("openai"), "gpt-4o", &MILLION)).unwrap(), "2");
    let zero = book(r#"{"rates":{"openai/gpt-4o":{"input_tokens":{"per_1m":"2"},"output_tokens":{"per_1m":"0"}}}}"#);
    assert_eq!(dollars(&price(&zero, Some("openai"), "gpt-4o", &both)).unwrap(), "2");
}

#[test]
fn user_rates_can_have_the_catalog_as_their_base() {
    let book = book(
        r#"{"rates":{"gpt-4o":{"base":"catalog","input_tokens":{"per_1m":"2"}},
        "openai/gpt-4.1":[{"rates":{"base":"catalog","output_tokens":{"per_1m":"1"}}}],
        "x/unknown":{"base":"catalog","input_tokens":{"per_1m":"1"}}},"multipliers":{"openai/gpt-4.1":"2"}}"#,
    );
    let usage = [("input_tokens", 2_000_000), ("cache_read_tokens", 1_000_000), ("output_tokens", 1_000_000)];
    let cost = price(&book, Some("openai"), "gpt-4o-2024-08-06", &usage);
    // 2 from the user's rate, 1.25 for the cache and 10 for the output from the catalog.
    assert_eq!((dollars(&cost).unwrap().as_str(), cost.status), ("13.25", CostStatus::Manual));
    let batch = Conditions { batch: true, ..Conditions::default() };
    let listed = priced(&plain_book(), Some("openai"), "gpt-4.1", &MILLION, batch).unwrap();
    let own = priced(&book, Some("openai"), "gpt-4.1", &MILLION, batch).unwrap();
    assert_eq!(own.usd.unwrap().units(), listed.usd.unwrap().units() * 2);
    assert_eq!(price(&book, Some("x"), "unknown", &usage).usd, None);
    assert_eq!(dollars(&price(&book, Some("x"), "unknown", &MILLION)).unwrap(), "1");
}

#[test]
fn rules_that_match_no_model_are_listed() {
    let rules = r#"{"multipliers":{"openai/*":"0.9","*":"1.1","opnai/*":"0.9","openai/gpt-4o*":"1","openai/gpt-99*":"1","gpt-4o-2024-08-06":"1"},
        "aliases":{"azure/prod":"openai/gpt-4.1","azure/other":"openai/gtp-4.1","mine":"mine/model"},
        "rates":{"mine/model":{"input_tokens":{"per_1m":"1"}}}}"#;
    let mut unmatched = book(rules).unmatched_rules();
    unmatched.sort();
    assert_eq!(unmatched, [r#"aliases."azure/other""#, r#"multipliers."openai/gpt-99*""#, r#"multipliers."opnai/*""#]);
}

#[test]
fn models_that_the_user_calls_free_cost_nothing() {
    let book = book(r#"{"free":["ollama/*","vllm/*"],"rates":{"ollama/dear":{"input_tokens":{"per_1m":"1"}}}}"#);
    let cost = price(&book, Some("ollama"), "llama3.2:1b", &MILLION);
    assert_eq!((cost.usd, cost.status), (Some(Usd::ZERO), CostStatus::Free));
    assert_eq!(price(&book, Some("vllm"), "org/model", &[]).status, CostStatus::Free);
    assert_eq!(dollars(&price(&book, Some("ollama"), "dear", &MILLION)).unwrap(), "1");
    assert_eq!(price(&book, Some("openai"), "nothing", &MILLION).status, CostStatus::Unpriced);
}

#[test]
fn litellm_names_and_openrouter_suffixes_identify_the_provider() {
    let book = plain_book();
    let of = |provider: &str, model: &str| {
        let cost = price(&book, Some(provider), model, &MILLION);
        (dollars(&cost), cost.found.map(|found| book.label(found).to_owned()))
    };
    for (model, plain) in [
        ("anthropic/claude-sonnet-4-5", ("anthropic", "claude-sonnet-4-5")),
        ("openai/gpt-4o", ("openai", "gpt-4o")),
        ("gpt-4o", ("openai", "gpt-4o")),
        (
            "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            ("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ),
        ("gemini/gemini-2.5-flash", ("google", "gemini-2.5-flash")),
        ("openrouter/anthropic/claude-sonnet-4.5", ("openrouter", "anthropic/claude-sonnet-4.5")),
    ] {
        assert_eq!(of("litellm", model), of(plain.0, plain.1), "{model}");
        assert_eq!(of("litellm_proxy", model), of(plain.0, plain.1), "{model}");
        assert_eq!(of("litellm", &format!("litellm_proxy/{model}")), of(plain.0, plain.1), "{model}");
        assert!(of("litellm", model).0.is_some(), "{model}");
    }
    let base = price(&book, Some("openrouter"), "openai/gpt-4o", &MILLION);
    for suffix in ["online", "nitro", "floor", "exacto"] {
        let cost = price(&book, Some("openrouter"), &format!("openai/gpt-4o:{suffix}"), &MILLION);
        assert_eq!((cost.usd, notes(&cost)), (base.usd, vec!["context_without_rates"]), "{suffix}");
    }
    let free = price(&book, Some("openrouter"), "openai/gpt-4o:free", &MILLION);
    assert_eq!((free.usd, free.status), (Some(Usd::ZERO), CostStatus::Free));
    assert_eq!(price(&book, Some("openrouter"), "openai/gpt-4o:other", &MILLION).usd, None);
    assert_eq!(price(&book, Some("openai"), "gpt-4o:online", &MILLION).usd, None);
}

#[test]
fn published_factors_of_regions_and_tiers_apply_to_tokens_only() {
    let book = plain_book();
    let condition = |region, service_tier| Conditions { service_tier, region, ..Conditions::default() };
    let usage = [("input_tokens", 1000), ("output_tokens", 100), ("web_searches", 1)];
    let plain = price(&book, Some("anthropic"), "claude-sonnet-4-6", &usage);
    let us =
        priced(&book, Some("anthropic"), "claude-sonnet-4-6", &usage, condition(Some("us"), Some("standard"))).unwrap();
    assert_eq!((dollars(&plain).unwrap().as_str(), dollars(&us).unwrap().as_str()), ("0.0145", "0.01495"));
    assert!(notes(&us).is_empty());
    let flex = [("input_tokens", 4061), ("output_tokens", 25)];
    let found =
        priced(&book, Some("gcp.vertex_ai"), "gemini-3.5-flash-lite", &flex, condition(None, Some("flex"))).unwrap();
    assert_eq!((dollars(&found).unwrap().as_str(), notes(&found)), ("0.0006404", vec![]));
    let provisioned = condition(None, Some("provisioned_throughput"));
    let found = priced(&book, Some("gcp.vertex_ai"), "gemini-3.5-flash-lite", &flex, provisioned).unwrap();
    assert_eq!(notes(&found), ["tier_without_rates"]);
    // Claude at Vertex AI has the prices of its maker, plus a tenth outside of the global endpoint.
    let vertex = |region| {
        priced(&book, Some("vertex_ai"), "claude-sonnet-4-5@20250929", &MILLION, condition(Some(region), None)).unwrap()
    };
    assert_eq!(
        (dollars(&vertex("us-east5")).unwrap().as_str(), dollars(&vertex("global")).unwrap().as_str()),
        ("6.6", "6")
    );
    let eu = |model| priced(&book, Some("openai"), model, &MILLION, condition(Some("eu"), None)).unwrap();
    assert_eq!(notes(&eu("gpt-4o")), ["region_without_rates"]);
    assert!(notes(&eu("gpt-5.4")).is_empty());
}
