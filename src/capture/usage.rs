//! Usage as providers report it, in one convention: totals include their parts.
//!
//! | wire | input | cache | reasoning |
//! |---|---|---|---|
//! | OpenAI chat, completions, embeddings, and who speaks them | `prompt_tokens`, a total | inside | inside `completion_tokens` |
//! | – of xAI and Perplexity | the same | inside | beside it |
//! | OpenAI responses, images, audio, realtime | `input_tokens`, a total | inside | inside `output_tokens` |
//! | Anthropic messages | `input_tokens`, without cache | two fields to add | inside `output_tokens` |
//! | Bedrock Converse | `inputTokens`, without cache | two fields to add | inside `outputTokens` |
//! | Gemini | `promptTokenCount`, a total; tool use beside it | inside | beside `candidatesTokenCount` |
//! | – its interactions | `total_input_tokens`, the same | inside | beside `total_output_tokens` |
//! | Cohere | `billed_units`, what is charged | – | inside |
//! | Ollama | `prompt_eval_count` | – | inside `eval_count` |
//! | LangChain, OpenTelemetry, litellm | a total, whoever the provider is | inside | inside |
//!
//! The convention belongs to the wire, not to the vendor: gateways add Anthropic's cache before they pass usage on. Formats are told
//! apart by the fields that only one has. Where a total of everything is reported, it settles what lies beside what.

use serde_json::Value;

use super::fields::{add, add_all, amount, count, find, stored_count, unreadable};
use super::tables::{self, Field, METRICS};
use crate::event::usage::MAX_COUNT;
use crate::event::{CostNotes, Unit, Usage};
use crate::money::Usd;

/// Whose wire format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// OpenAI and those who speak its formats.
    OpenAi,
    /// Anthropic messages.
    Anthropic,
    /// Gemini, of Google's own interface.
    Gemini,
    /// Amazon Bedrock's Converse.
    Converse,
    /// What Amazon Bedrock's `InvokeModel` says of a model of any form.
    Invoke,
    /// Cohere, both versions.
    Cohere,
    /// Ollama's own interface.
    Ollama,
    /// LangChain's `usage_metadata`.
    LangChain,
    /// OpenTelemetry's `gen_ai.usage` attributes.
    OpenTelemetry,
}

/// Who speaks OpenAI's format with additions of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Dialect {
    /// Nobody that is known.
    #[default]
    Plain,
    /// OpenRouter: says what it charged.
    OpenRouter,
    /// Perplexity: says what it charged; reasoning, citations and searches lie beside the answer.
    Perplexity,
    /// xAI: says what it charged; reasoning lies beside the answer.
    XAi,
    /// Gemini's own interface, and who passes its models on: what is more in a total than in its parts are thoughts.
    Gemini,
    /// Vertex AI: the same.
    Vertex,
}

/// What a usage object says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Counts by unit.
    pub usage: Usage,
    /// What the provider says it charges.
    pub cost: Option<Usd>,
    /// A field that is there and no count: then the usage is not to be relied on.
    pub unreadable: Option<&'static str>,
    /// What other models used, beside it.
    pub parts: Vec<Part>,
    /// What to know about its cost.
    pub notes: CostNotes,
}

/// What a model that was called for another's answer used. It is billed by its own rates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The model.
    pub model: String,
    /// Counts by unit.
    pub usage: Usage,
}

impl Family {
    /// The family of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "openai" => Self::OpenAi,
            "anthropic" => Self::Anthropic,
            "gemini" => Self::Gemini,
            "converse" => Self::Converse,
            "invoke" => Self::Invoke,
            "cohere" => Self::Cohere,
            "ollama" => Self::Ollama,
            "langchain" => Self::LangChain,
            "opentelemetry" => Self::OpenTelemetry,
            _ => return None,
        })
    }

    /// The family whose fields these are.
    fn of(report: &Value) -> Self {
        let has = |names: &[&str]| names.iter().any(|name| find(report, &[name]).is_some_and(|value| !value.is_null()));
        let has_own = |names: &[&str]| names.iter().any(|name| report.get(name).is_some());
        if has_own(&["inputTextTokenCount", "generation_token_count", "inputTokenCount"]) {
            return Self::Invoke;
        }
        // A gateway that passes Anthropic's usage on in OpenAI's format keeps the names of the cache fields.
        if has(&["prompt_tokens", "completion_tokens"]) {
            Self::OpenAi
        } else if has(&["promptTokenCount", "candidatesTokenCount", "totalTokenCount"]) {
            Self::Gemini
        } else if report.get("inputTokens").is_some() || report.get("outputTokens").is_some() {
            // As they stand: in snake case they are everybody's.
            Self::Converse
        } else if has(&["billed_units", "tokens"]) {
            Self::Cohere
        } else if has(&["prompt_eval_count", "eval_count"]) {
            Self::Ollama
        } else if has(&["input_token_details", "output_token_details"]) && !has(&["cache_read_input_tokens"]) {
            Self::LangChain
        } else if has(&["gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"]) {
            Self::OpenTelemetry
        } else if has(tables::ANTHROPIC_ALONE) {
            Self::Anthropic
        } else {
            Self::OpenAi
        }
    }

    fn fields(self, report: &Value) -> &'static [Field] {
        match self {
            Self::OpenAi if is_chat(report) => tables::CHAT,
            Self::OpenAi => tables::RESPONSES,
            Self::Anthropic => tables::ANTHROPIC,
            Self::Gemini if find(report, &[INTERACTION.prompt]).is_some() => tables::INTERACTIONS,
            Self::Gemini => tables::GEMINI,
            Self::Converse => tables::CONVERSE,
            Self::Invoke => tables::INVOKE,
            Self::Cohere => tables::COHERE,
            Self::Ollama => tables::OLLAMA,
            Self::LangChain => tables::LANGCHAIN,
            Self::OpenTelemetry => tables::OPENTELEMETRY,
        }
    }
}

impl Dialect {
    /// The dialect of a provider, by its canonical name.
    #[must_use]
    pub fn of(provider: &str) -> Self {
        match provider {
            "openrouter" => Self::OpenRouter,
            "perplexity" => Self::Perplexity,
            "x_ai" => Self::XAi,
            "gcp.gemini" | "gcp.gen_ai" => Self::Gemini,
            "gcp.vertex_ai" => Self::Vertex,
            _ => Self::Plain,
        }
    }

    /// This, or that of the maker of the model, where it is not known who speaks.
    #[must_use]
    pub fn or_of_model(self, model: Option<&str>) -> Self {
        let is_gemini = |model: &str| model.rsplit('/').next().is_some_and(|name| name.starts_with("gemini"));
        if self == Self::Plain && model.is_some_and(is_gemini) { Self::Gemini } else { self }
    }

    /// What the provider charged, exact as its own decimal says.
    fn cost(self, report: &Value) -> Option<Usd> {
        /// xAI states costs in ticks, 10^10 of which are a dollar.
        const USD_PER_TICK: i128 = 10_i128.pow(crate::money::SCALE - 10);
        match self {
            Self::Plain | Self::Gemini | Self::Vertex => None,
            Self::OpenRouter => {
                let own = amount(report.get("cost")?)?;
                if report.get("is_byok").and_then(Value::as_bool) != Some(true) {
                    return Some(own);
                }
                // With a key of the user's own, OpenRouter charges its fee and the provider the rest.
                own.checked_add(amount(find(report, &["cost_details", "upstream_inference_cost"])?)?)
            }
            Self::Perplexity => amount(find(report, &["cost", "total_cost"])?),
            Self::XAi => {
                let ticks = i128::from(report.get("cost_in_usd_ticks")?.as_u64()?);
                ticks.checked_mul(USD_PER_TICK).map(Usd::from_units)
            }
        }
    }
}

/// Usage from a provider's usage object. Fields that are absent or null are left out; `None` when there are none.
#[must_use]
pub fn normalize(report: &Value, family: Option<Family>, dialect: Dialect) -> Option<Report> {
    let fields = report.as_object()?;
    if let Some(metrics) = fields.get(METRICS) {
        return with_metrics(fields, metrics, family, dialect);
    }
    // A body of Bedrock's has the form of its model.
    let family = family.filter(|family| *family != Family::Invoke).unwrap_or_else(|| Family::of(report));
    let mut usage = Usage::default();
    let fields = family.fields(report);
    let totals = match family {
        Family::Gemini if find(report, &[INTERACTION.prompt]).is_some() => tables::INTERACTION_TOTALS,
        Family::Gemini => tables::GEMINI_TOTALS,
        _ => &[],
    };
    let unreadable = totals.iter().chain(fields).find_map(|field| unreadable(report, field));
    let mut notes = CostNotes::NONE;
    add_all(&mut usage, report, fields);
    match family {
        Family::OpenAi => openai(&mut usage, report, dialect, &mut notes),
        Family::Anthropic => {
            // What compaction used is not in the totals beside it.
            let iterations = report.get("iterations").and_then(Value::as_array);
            let is_compaction = |one: &&Value| one.get("type").and_then(Value::as_str) == Some("compaction");
            for compaction in iterations.into_iter().flatten().filter(is_compaction) {
                add_all(&mut usage, compaction, tables::ANTHROPIC);
            }
            total_of_lifetimes(&mut usage, true);
        }
        Family::Converse => {
            if usage.count(Unit::CACHE_READ_TOKENS) + usage.count(Unit::CACHE_WRITE_TOKENS) == 0 {
                add_all(&mut usage, report, tables::NOVA);
                let cached = usage.count(Unit::CACHE_READ_TOKENS) + usage.count(Unit::CACHE_WRITE_TOKENS);
                if cached > 0 {
                    add(&mut usage, Unit::INPUT_TOKENS, cached);
                }
            }
            total_of_lifetimes(&mut usage, true);
            converse(&mut usage, report);
        }
        Family::Gemini => {
            let is_interaction = find(report, &[INTERACTION.prompt]).is_some();
            gemini(&mut usage, report, if is_interaction { &INTERACTION } else { &GENERATION });
            rest_of_total(
                &mut usage,
                report,
                if is_interaction { INTERACTION.all } else { GENERATION.all },
                dialect,
                &mut notes,
            );
        }
        Family::LangChain => {
            total_of_lifetimes(&mut usage, false);
            // Realtime usage has the same two objects, with other names inside.
            add_all(&mut usage, report, tables::REALTIME);
            rest_of_total(&mut usage, report, "total_tokens", dialect, &mut notes);
        }
        Family::Invoke | Family::Cohere | Family::Ollama | Family::OpenTelemetry => {}
    }
    if family == Family::Converse {
        rest_of_total(&mut usage, report, "totalTokens", dialect, &mut notes);
    }
    if !usage.is_empty() {
        // What is odd about a fee hides no tokens.
        add_all(&mut usage, report, tables::TOOLS);
    }
    let is_something = !usage.is_empty() || unreadable.is_some();
    is_something.then(|| Report { usage, cost: dialect.cost(report), unreadable, parts: parts(report, family), notes })
}

/// Bedrock's own metrics, and what the model's form says beside them: that says more, where it has both sides of the call.
fn with_metrics(
    fields: &serde_json::Map<String, Value>,
    metrics: &Value,
    family: Option<Family>,
    dialect: Dialect,
) -> Option<Report> {
    let mut rest = fields.clone();
    rest.remove(METRICS);
    let has_both =
        |report: &Report| report.usage.count(Unit::INPUT_TOKENS) > 0 && report.usage.count(Unit::OUTPUT_TOKENS) > 0;
    let own = normalize(&Value::Object(rest), family, dialect);
    if own.as_ref().is_some_and(has_both) {
        return own;
    }
    normalize(metrics, Some(Family::Invoke), dialect).or(own)
}

/// What is more in the total than in its parts: thoughts at Google's, a part that lies beside and is named, or something that is
/// not known.
fn rest_of_total(usage: &mut Usage, report: &Value, name: &str, dialect: Dialect, notes: &mut CostNotes) {
    let [input, output] = [Unit::INPUT_TOKENS, Unit::OUTPUT_TOKENS].map(|unit| usage.count(unit));
    let rest = count(report, &[name]).unwrap_or(0).saturating_sub(input + output);
    if rest == 0 || input + output == 0 {
        return;
    }
    let cached = usage.count(Unit::CACHE_READ_TOKENS) + usage.count(Unit::CACHE_WRITE_TOKENS);
    // Mistral bills the tokens of audio by its seconds.
    if usage.count(Unit::INPUT_AUDIO_SECONDS) > 0 {
        return;
    }
    if matches!(dialect, Dialect::Gemini | Dialect::Vertex) {
        add(usage, Unit::OUTPUT_TOKENS, rest);
        if usage.count(Unit::REASONING_TOKENS) == 0 {
            add(usage, Unit::REASONING_TOKENS, rest);
        }
    } else if rest == cached {
        // A gateway that keeps Anthropic's way of counting under the names of another.
        add(usage, Unit::INPUT_TOKENS, rest);
    } else {
        *notes |= CostNotes::UNACCOUNTED_TOKENS;
    }
}

/// Output that is all images, where the report does not say so; `text` is what of it is known to be text.
pub(super) fn image_output(usage: &mut Usage, text: u64, family: Family) {
    const IMAGES: Unit = Unit::named("output_image_tokens");
    if !matches!(family, Family::OpenAi | Family::Gemini) || usage.count(IMAGES) > 0 {
        return;
    }
    let beside = text + usage.count(Unit::REASONING_TOKENS);
    let images = usage.count(Unit::OUTPUT_TOKENS).saturating_sub(beside);
    if images > 0 {
        usage.set(IMAGES, images);
    }
}

/// What other models used: Anthropic's advisors, OpenAI's tool that generates images, and what draws for its image models. None is in
/// the totals beside it.
fn parts(report: &Value, family: Family) -> Vec<Part> {
    let part = |model: &str, holder: &Value, fields: &'static [Field]| {
        let mut usage = Usage::default();
        add_all(&mut usage, holder, fields);
        let has_any = usage.iter().any(|(_, count)| count > 0);
        has_any.then(|| Part { model: model.to_owned(), usage })
    };
    let list = |name: &str| report.get(name).and_then(Value::as_array).into_iter().flatten();
    let of_type = |item: &Value, kind: &str| item.get("type").and_then(Value::as_str) == Some(kind);
    let model = |item: &Value| item.get("model").and_then(Value::as_str).map(str::to_owned);
    match family {
        Family::Anthropic => list("iterations")
            .filter(|item| of_type(item, "advisor_message"))
            .filter_map(|item| part(&model(item)?, item, tables::ANTHROPIC))
            .collect(),
        Family::OpenAi => {
            // Where the request did not choose its model, the response does not name it, and it has no price.
            let chosen = list("tools").find(|tool| of_type(tool, "image_generation")).and_then(model);
            let images = find(report, &["tool_usage", "image_gen"]);
            let name = chosen.as_deref().unwrap_or("image_generation");
            let images = images.and_then(|images| part(name, images, tables::IMAGE_TOOL));
            let drawing = report.get("svg_usage");
            let drawing = drawing.and_then(|drawing| part(&model(drawing)?, drawing, tables::DRAWING));
            images.into_iter().chain(drawing).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether the names are those of chat completions.
fn is_chat(report: &Value) -> bool {
    ["prompt_tokens", "completion_tokens"].iter().any(|name| report.get(name).is_some_and(|value| !value.is_null()))
}

fn openai(usage: &mut Usage, report: &Value, dialect: Dialect, notes: &mut CostNotes) {
    total_of_lifetimes(usage, false);
    if dialect == Dialect::Perplexity {
        add_all(usage, report, tables::PERPLEXITY);
    }
    let is_chat = is_chat(report);
    if !is_chat {
        add_all(usage, report, tables::REALTIME);
    }
    let (input, output, reasoning) =
        (usage.count(Unit::INPUT_TOKENS), usage.count(Unit::OUTPUT_TOKENS), usage.count(Unit::REASONING_TOKENS));
    let is_beside = match count(report, &["total_tokens"]) {
        Some(total) if total == input + output => false,
        Some(total) if total == input + output + reasoning => true,
        _ => dialect == Dialect::XAi,
    };
    if is_chat && is_beside && dialect != Dialect::Perplexity && reasoning > 0 {
        add(usage, Unit::OUTPUT_TOKENS, reasoning);
    }
    rest_of_total(usage, report, "total_tokens", dialect, notes);
    // Transcription that is billed by time.
    if let Some(seconds) = report.get("seconds").and_then(|value| stored_count(value, Unit::AUDIO_SECONDS)) {
        usage.set(Unit::AUDIO_SECONDS, seconds);
        usage.set(Unit::INPUT_AUDIO_SECONDS, seconds);
    }
}

/// Where only the lifetimes of written cache tokens are reported, their sum is the total; it belongs to the input too.
fn total_of_lifetimes(usage: &mut Usage, is_beside_input: bool) {
    let lifetimes = usage.count(Unit::CACHE_WRITE_5M_TOKENS) + usage.count(Unit::CACHE_WRITE_1H_TOKENS);
    if usage.count(Unit::CACHE_WRITE_TOKENS) == 0 && lifetimes > 0 {
        add(usage, Unit::CACHE_WRITE_TOKENS, lifetimes);
        if is_beside_input {
            add(usage, Unit::INPUT_TOKENS, lifetimes);
        }
    }
}

/// For some models Converse reports input with the cached tokens inside, which the total shows.
fn converse(usage: &mut Usage, report: &Value) {
    let cached = usage.count(Unit::CACHE_READ_TOKENS) + usage.count(Unit::CACHE_WRITE_TOKENS);
    let [input, output, total] = ["inputTokens", "outputTokens", "totalTokens"].map(|name| count(report, &[name]));
    if let (Some(input), Some(output), Some(total)) = (input, output, total)
        && cached > 0
        && input >= cached
        && total == input + output
    {
        usage.set(Unit::INPUT_TOKENS, input);
    }
}

/// What Gemini calls its totals.
struct Totals {
    prompt: &'static str,
    tool: &'static str,
    answer: &'static str,
    thoughts: &'static str,
    all: &'static str,
}

const GENERATION: Totals = Totals {
    prompt: "promptTokenCount",
    tool: "toolUsePromptTokenCount",
    answer: "candidatesTokenCount",
    thoughts: "thoughtsTokenCount",
    all: "totalTokenCount",
};
const INTERACTION: Totals = Totals {
    prompt: "total_input_tokens",
    tool: "total_tool_use_tokens",
    answer: "total_output_tokens",
    thoughts: "total_thought_tokens",
    all: "total_tokens",
};

/// Thoughts and tool use lie beside the answer and the prompt unless the total says otherwise.
fn gemini(usage: &mut Usage, report: &Value, names: &Totals) {
    let own = |name: &str| count(report, &[name]).unwrap_or(0);
    let [prompt, tool, answer, thoughts] = [names.prompt, names.tool, names.answer, names.thoughts].map(own);
    let (mut tool_beside, mut thoughts_beside) = (tool, thoughts);
    if let Some(total) = count(report, &[names.all]) {
        let base = prompt + answer;
        for (with_tool, with_thoughts) in [(tool, thoughts), (0, thoughts), (tool, 0), (0, 0)] {
            if total == base + with_tool + with_thoughts {
                (tool_beside, thoughts_beside) = (with_tool, with_thoughts);
                break;
            }
        }
    }
    if prompt + tool > 0 || find(report, &[names.prompt]).is_some() {
        usage.set(Unit::INPUT_TOKENS, (prompt + tool_beside).min(MAX_COUNT));
    }
    if answer + thoughts > 0 || find(report, &[names.answer]).is_some() {
        usage.set(Unit::OUTPUT_TOKENS, (answer + thoughts_beside).min(MAX_COUNT));
    }
}

#[cfg(test)]
#[path = "tests/usage.rs"]
mod tests;
