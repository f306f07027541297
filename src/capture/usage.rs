//! Normalizes the usage that providers report to one convention: totals include their parts.
//!
//! | wire | input | cache | reasoning |
//! |---|---|---|---|
//! | OpenAI chat, completions, embeddings, and compatible providers | `prompt_tokens`, a total | inside | inside `completion_tokens`
//! | | – of xAI and Perplexity | the same | inside | in addition to it |
//! | OpenAI responses, images, audio, realtime | `input_tokens`, a total | inside | inside `output_tokens` |
//! | Anthropic messages | `input_tokens`, without cache | two fields to add | inside `output_tokens` |
//! | Bedrock Converse | `inputTokens`, without cache | two fields to add | inside `outputTokens` |
//! | Gemini | `promptTokenCount`, a total; tool use in addition | inside | in addition to `candidatesTokenCount` |
//! | – its interactions | `total_input_tokens`, the same | inside | in addition to `total_output_tokens` |
//! | Cohere | `billed_units`, what is charged | – | inside |
//! | Ollama | `prompt_eval_count` | – | inside `eval_count` |
//! | LangChain, OpenTelemetry, litellm | a total, for every provider | inside | inside |
//!
//! The convention depends on the wire format, not on the vendor: gateways add Anthropic's cache before they pass usage on. Formats
//! are recognized by fields that only one of them has. If a total of everything is reported, it decides which counts include others.

use serde_json::Value;

use super::fields::{add, add_all, amount, count, find, stored_count, unreadable};
use super::gemini::{Totals, gemini};
use super::tables::{self, Field, METRICS};
use crate::event::{CostNotes, Unit, Usage};
use crate::money::Usd;

/// A family of wire formats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// OpenAI and compatible providers.
    OpenAi,
    /// Anthropic messages.
    Anthropic,
    /// Gemini's native interface.
    Gemini,
    /// Amazon Bedrock's Converse.
    Converse,
    /// Amazon Bedrock's `InvokeModel`, for models with any format.
    Invoke,
    /// Cohere, both versions.
    Cohere,
    /// Ollama's native interface.
    Ollama,
    /// LangChain's `usage_metadata`.
    LangChain,
    /// OpenTelemetry's `gen_ai.usage` attributes.
    OpenTelemetry,
}

/// A provider that extends OpenAI's format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Dialect {
    /// No known extension.
    #[default]
    Plain,
    /// OpenRouter: reports the cost.
    OpenRouter,
    /// Perplexity: reports the cost. Reasoning, citations and searches are not included in the output.
    Perplexity,
    /// xAI: reports the cost. Reasoning is not included in the output.
    XAi,
    /// Gemini's native interface, and gateways to its models: the rest of a total beyond its parts is thoughts.
    Gemini,
    /// Vertex AI: the same.
    Vertex,
}

/// The content of a usage object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Counts by unit.
    pub usage: Usage,
    /// The cost that the provider states.
    pub cost: Option<Usd>,
    /// A field that is present but not a valid count. The usage cannot be relied on then.
    pub unreadable: Option<&'static str>,
    /// The usage of other models, not included in this one.
    pub parts: Vec<Part>,
    /// Remarks about the cost.
    pub notes: CostNotes,
}

/// The usage of a model that was called for another model's answer. It is billed at its own rates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The model.
    pub model: String,
    /// Counts by unit.
    pub usage: Usage,
}

impl Family {
    /// The family with this name.
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

    /// The family to which these fields belong.
    fn of(report: &Value) -> Self {
        let has = |names: &[&str]| names.iter().any(|name| find(report, &[name]).is_some_and(|value| !value.is_null()));
        let has_own = |names: &[&str]| names.iter().any(|name| report.get(name).is_some());
        if has_own(&["inputTextTokenCount", "generation_token_count", "inputTokenCount"]) {
            return Self::Invoke;
        }
        // A gateway that passes Anthropic's usage on in OpenAI's format keeps the names of the cache fields.
        if has(&["prompt_tokens", "completion_tokens"]) || is_vercel(report) {
            Self::OpenAi
        } else if has(&["promptTokenCount", "candidatesTokenCount", "totalTokenCount"]) {
            Self::Gemini
        } else if report.get("inputTokens").is_some() || report.get("outputTokens").is_some() {
            // Only the exact names count: in snake case, many formats have them.
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

    /// Whether a report has this family's fields. Gateways answer in one format and report usage in another, and a body of Bedrock has
    /// the format of its model.
    fn fits(self, report: &Value) -> bool {
        let is_anthropic = || {
            let has = |name: &&str| report.get(name).is_some_and(|count| !count.is_null());
            ["cache_read_input_tokens", "cache_creation_input_tokens"].iter().any(has)
                && report.get("total_tokens").is_none()
                && report.get("input_tokens_details").is_none()
        };
        match self {
            Self::Invoke => false,
            Self::OpenAi if !is_chat(report) && is_anthropic() => false,
            Self::Gemini if Totals::of(report).is_interaction() => true,
            _ => {
                let totals = if self == Self::Gemini { tables::GEMINI_TOTALS } else { &[] };
                totals.iter().chain(self.fields(report)).any(|field| find(report, field.path).is_some())
            }
        }
    }

    fn fields(self, report: &Value) -> &'static [Field] {
        match self {
            Self::OpenAi if is_vercel(report) => tables::VERCEL,
            Self::OpenAi if is_chat(report) => tables::CHAT,
            Self::OpenAi => tables::RESPONSES,
            Self::Anthropic => tables::ANTHROPIC,
            Self::Gemini if Totals::of(report).is_interaction() => tables::INTERACTIONS,
            Self::Gemini => tables::GEMINI,
            Self::Converse => tables::CONVERSE,
            Self::Invoke => tables::INVOKE,
            Self::Cohere if report.get("billed_units").is_none() => tables::COHERE_TOKENS,
            Self::Cohere => tables::COHERE,
            Self::Ollama => tables::OLLAMA,
            Self::LangChain => tables::LANGCHAIN,
            Self::OpenTelemetry => tables::OPENTELEMETRY,
        }
    }
}

impl Dialect {
    /// The dialect of a provider. `provider` is its canonical name.
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

    /// This dialect or, if it is `Plain`, the one of the model's maker.
    #[must_use]
    pub fn or_of_model(self, model: Option<&str>) -> Self {
        let is_gemini = |model: &str| model.rsplit('/').next().is_some_and(|name| name.starts_with("gemini"));
        if self == Self::Plain && model.is_some_and(is_gemini) { Self::Gemini } else { self }
    }

    /// The cost that the provider states, exactly as in its decimal.
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
                // If the user has their own key, OpenRouter charges its fee, and the provider charges the rest.
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

/// Usage from a provider's usage object. Absent and null fields are left out; `None` if there is no count.
#[must_use]
pub fn normalize(report: &Value, family: Option<Family>, dialect: Dialect) -> Option<Report> {
    let fields = report.as_object()?;
    if let Some(metrics) = fields.get(METRICS) {
        return with_metrics(fields, metrics, family, dialect);
    }
    let family = family.filter(|family| family.fits(report)).unwrap_or_else(|| Family::of(report));
    let mut usage = Usage::default();
    let fields = family.fields(report);
    let totals = match family {
        Family::Gemini => Totals::of(report).fields,
        _ => &[],
    };
    let unreadable = totals.iter().chain(fields).find_map(|field| unreadable(report, field));
    let mut notes = CostNotes::NONE;
    add_all(&mut usage, report, fields);
    match family {
        Family::OpenAi => openai(&mut usage, report, dialect, &mut notes),
        Family::Anthropic => {
            // The totals do not include the usage of compaction.
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
            let totals = Totals::of(report);
            gemini(&mut usage, report, totals);
            rest_of_total(&mut usage, report, totals.all, dialect, &mut notes);
        }
        Family::LangChain => {
            total_of_lifetimes(&mut usage, false);
            // Realtime usage has the same two objects with other names in them.
            add_all(&mut usage, report, tables::REALTIME);
            rest_of_total(&mut usage, report, "total_tokens", dialect, &mut notes);
        }
        Family::Invoke | Family::Cohere | Family::Ollama | Family::OpenTelemetry => {}
    }
    if family == Family::Converse {
        rest_of_total(&mut usage, report, "totalTokens", dialect, &mut notes);
    }
    if !usage.is_empty() {
        // Invalid counts of fees must not hide the tokens.
        add_all(&mut usage, report, tables::TOOLS);
    }
    let is_something = !usage.is_empty() || unreadable.is_some();
    is_something.then(|| Report { usage, cost: dialect.cost(report), unreadable, parts: parts(report, family), notes })
}

/// Bedrock's own metrics together with the usage in the model's format. The latter is used if it has both input and output.
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

/// Handles the rest of a total beyond its parts: thoughts (Google), cached tokens that are not included in the input, or something
/// unknown.
fn rest_of_total(usage: &mut Usage, report: &Value, name: &str, dialect: Dialect, notes: &mut CostNotes) {
    let [input, output] = [Unit::INPUT_TOKENS, Unit::OUTPUT_TOKENS].map(|unit| usage.count(unit));
    let rest = count(report, &[name]).unwrap_or(0).saturating_sub(input + output);
    if rest == 0 || input + output == 0 {
        return;
    }
    let cached = usage.count(Unit::CACHE_READ_TOKENS) + usage.count(Unit::CACHE_WRITE_TOKENS);
    // Mistral bills audio by seconds, not by tokens.
    if usage.count(Unit::INPUT_AUDIO_SECONDS) > 0 {
        return;
    }
    if matches!(dialect, Dialect::Gemini | Dialect::Vertex) {
        add(usage, Unit::OUTPUT_TOKENS, rest);
        if usage.count(Unit::REASONING_TOKENS) == 0 {
            add(usage, Unit::REASONING_TOKENS, rest);
        }
    } else if rest == cached {
        // A gateway that keeps Anthropic's way of counting under another format's names.
        add(usage, Unit::INPUT_TOKENS, rest);
    } else {
        *notes |= CostNotes::UNACCOUNTED_TOKENS;
    }
}

/// Counts the output as images if the report does not say so. `text` is the part that is known to be text.
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

/// Counts the images in an output of text and images, if the report does not say so and each image has a known number of tokens.
/// Returns whether the counts are known.
pub(super) fn mixed_output(usage: &mut Usage, images: u64, model: Option<&str>) -> bool {
    /// Google states this number for images of up to 1024 × 1024 pixels, which is all that this model makes.
    const TOKENS: u64 = 1290;
    const UNIT: Unit = Unit::named("output_image_tokens");
    if usage.count(UNIT) > 0 {
        return true;
    }
    let tokens = images * TOKENS;
    let is_known = model.is_some_and(|model| model.contains("gemini-2.5-flash-image"));
    if !is_known || tokens > usage.count(Unit::OUTPUT_TOKENS) {
        return false;
    }
    usage.set(UNIT, tokens);
    true
}

/// The usage of other models: Anthropic's advisors, OpenAI's tool that generates images, and the model that draws for OpenAI's image
/// models. None is included in the totals.
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
            // If the request does not choose the model of the tool, the response does not name it, and it has no price.
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

fn is_vercel(report: &Value) -> bool {
    ["promptTokens", "completionTokens"].iter().any(|name| report.get(name).is_some_and(|value| !value.is_null()))
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

/// If only the lifetimes of written cache tokens are reported, their sum is the total. If `is_beside_input`, the input does not
/// include it yet.
fn total_of_lifetimes(usage: &mut Usage, is_beside_input: bool) {
    let lifetimes = usage.count(Unit::CACHE_WRITE_5M_TOKENS) + usage.count(Unit::CACHE_WRITE_1H_TOKENS);
    if usage.count(Unit::CACHE_WRITE_TOKENS) == 0 && lifetimes > 0 {
        add(usage, Unit::CACHE_WRITE_TOKENS, lifetimes);
        if is_beside_input {
            add(usage, Unit::INPUT_TOKENS, lifetimes);
        }
    }
}

/// For some models, Converse's input already includes the cached tokens. The total shows it.
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

#[cfg(test)]
#[path = "tests/usage.rs"]
mod tests;
