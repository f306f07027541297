//! The usage fields of each wire format. Fields of the same unit are added. [`super::usage`] handles what a table cannot express.

use crate::event::Unit;

/// The name of Bedrock's own report, in the last message of a stream in any format.
pub(super) const METRICS: &str = "amazon-bedrock-invocationMetrics";

/// A field of a usage object, and the unit it counts.
pub(super) struct Field {
    /// The names from the usage object to the field.
    pub(super) path: &'static [&'static str],
    pub(super) unit: Unit,
    /// Whether the field is another name for an earlier one. It counts only if the earlier one is absent.
    pub(super) is_alternative: bool,
}

const fn field(path: &'static [&'static str], unit: &'static str) -> Field {
    Field { path, unit: Unit::named(unit), is_alternative: false }
}

const fn or(path: &'static [&'static str], unit: &'static str) -> Field {
    Field { path, unit: Unit::named(unit), is_alternative: true }
}

pub(super) const CHAT: &[Field] = &[
    field(&["prompt_tokens"], "input_tokens"),
    field(&["completion_tokens"], "output_tokens"),
    field(&["prompt_tokens_details", "cached_tokens"], "cache_read_tokens"),
    field(&["prompt_tokens_details", "cache_write_tokens"], "cache_write_tokens"),
    // litellm's names of Anthropic's cache.
    or(&["prompt_tokens_details", "cache_creation_tokens"], "cache_write_tokens"),
    // DashScope's names for it.
    or(&["prompt_tokens_details", "cache_creation_input_tokens"], "cache_write_tokens"),
    field(&["prompt_tokens_details", "cache_creation", "ephemeral_5m_input_tokens"], "cache_write_5m_tokens"),
    field(&["prompt_tokens_details", "cache_creation", "ephemeral_1h_input_tokens"], "cache_write_1h_tokens"),
    field(
        &["prompt_tokens_details", "cache_creation_token_details", "ephemeral_5m_input_tokens"],
        "cache_write_5m_tokens",
    ),
    field(
        &["prompt_tokens_details", "cache_creation_token_details", "ephemeral_1h_input_tokens"],
        "cache_write_1h_tokens",
    ),
    field(&["prompt_tokens_details", "audio_tokens"], "input_audio_tokens"),
    field(&["prompt_tokens_details", "image_tokens"], "input_image_tokens"),
    // DashScope's models that see videos.
    field(&["prompt_tokens_details", "video_tokens"], "input_video_tokens"),
    field(&["completion_tokens_details", "reasoning_tokens"], "output_reasoning_tokens"),
    field(&["completion_tokens_details", "audio_tokens"], "output_audio_tokens"),
    field(&["completion_tokens_details", "image_tokens"], "output_image_tokens"),
    // Databricks, Modal and Perplexity have it at the top level.
    or(&["reasoning_tokens"], "output_reasoning_tokens"),
    // DeepSeek, Moonshot, Databricks and xAI each have their own name for cached tokens, and gateways have one for written ones.
    or(&["prompt_cache_hit_tokens"], "cache_read_tokens"),
    or(&["cached_tokens"], "cache_read_tokens"),
    or(&["cache_read_input_tokens"], "cache_read_tokens"),
    or(&["cached_prompt_text_tokens"], "cache_read_tokens"),
    or(&["cache_creation_input_tokens"], "cache_write_tokens"),
    // Tokens that Mistral's connectors add, not included in the prompt.
    field(&["connector_tokens"], "input_tokens"),
    field(&["connector_tokens"], "input_tool_tokens"),
    // Mistral's audio models.
    field(&["prompt_audio_seconds"], "audio_seconds"),
    field(&["prompt_audio_seconds"], "input_audio_seconds"),
];

/// The names of Vercel's library, which its gateways pass on.
pub(super) const VERCEL: &[Field] =
    &[field(&["promptTokens"], "input_tokens"), field(&["completionTokens"], "output_tokens")];

pub(super) const PERPLEXITY: &[Field] = &[
    field(&["reasoning_tokens"], "output_tokens"),
    field(&["citation_tokens"], "output_tokens"),
    field(&["citation_tokens"], "output_citation_tokens"),
    field(&["num_search_queries"], "web_searches"),
];

pub(super) const RESPONSES: &[Field] = &[
    field(&["input_tokens"], "input_tokens"),
    field(&["output_tokens"], "output_tokens"),
    field(&["input_tokens_details", "cached_tokens"], "cache_read_tokens"),
    // Perplexity's name for it.
    or(&["input_tokens_details", "cache_read_input_tokens"], "cache_read_tokens"),
    field(&["input_tokens_details", "cache_write_tokens"], "cache_write_tokens"),
    // A gateway that counts Anthropic's cached tokens inside the input.
    or(&["cache_read_input_tokens"], "cache_read_tokens"),
    or(&["cache_creation_input_tokens"], "cache_write_tokens"),
    field(&["input_tokens_details", "audio_tokens"], "input_audio_tokens"),
    field(&["input_tokens_details", "image_tokens"], "input_image_tokens"),
    field(&["output_tokens_details", "reasoning_tokens"], "output_reasoning_tokens"),
    field(&["output_tokens_details", "audio_tokens"], "output_audio_tokens"),
    field(&["output_tokens_details", "image_tokens"], "output_image_tokens"),
    field(&["tool_calls_details", "search_web", "invocation"], "web_searches"),
    field(&["tool_usage", "web_search", "num_requests"], "web_searches"),
    field(&["pages_processed"], "input_document_pages"),
];

/// Tools that run at the provider, in any format. Invalid counts are ignored.
pub(super) const TOOLS: &[Field] = &[
    // Anthropic's, and those of gateways that pass its models on in OpenAI's format.
    or(&["server_tool_use", "web_search_requests"], "web_searches"),
    or(&["server_tool_use", "code_execution_requests"], "code_executions"),
    // litellm's name.
    or(&["prompt_tokens_details", "web_search_requests"], "web_searches"),
    // xAI's tools, and its former live search, which is billed per page.
    or(&["server_side_tool_usage_details", "web_search_calls"], "web_searches"),
    or(&["server_side_tool_usage_details", "x_search_calls"], "social_searches"),
    or(&["server_side_tool_usage_details", "code_interpreter_calls"], "code_executions"),
    or(&["server_side_tool_usage_details", "file_search_calls"], "storage_searches"),
    or(&["server_side_tool_usage_details", "document_search_calls"], "storage_searches"),
    or(&["num_sources_used"], "web_searches"),
    // Mistral's connectors.
    or(&["connectors", "web_search"], "web_searches"),
    or(&["connectors", "web_search_premium"], "web_searches"),
    or(&["connectors", "code_interpreter"], "code_executions"),
    or(&["connectors", "document_library"], "storage_searches"),
    or(&["connectors", "image_generation"], "output_images"),
    // DashScope's search.
    or(&["plugins", "search", "count"], "web_searches"),
    or(&["x_tools", "web_search", "count"], "web_searches"),
    or(&["x_tools", "code_interpreter", "count"], "code_executions"),
    // Gemini's interactions.
    or(&["grounding_tool_count", "type=google_maps", "count"], "map_searches"),
];

pub(super) const DRAWING: &[Field] = &[
    field(&["input_tokens"], "input_tokens"),
    field(&["output_tokens"], "output_tokens"),
    field(&["reasoning_tokens"], "output_reasoning_tokens"),
];

/// The usage of OpenAI's tool that generates images, as reported for its own model.
pub(super) const IMAGE_TOOL: &[Field] = &[
    field(&["input_tokens"], "input_tokens"),
    field(&["output_tokens"], "output_tokens"),
    field(&["cached_tokens"], "cache_read_tokens"),
    field(&["input_tokens_details", "image_tokens"], "input_image_tokens"),
    field(&["output_tokens_details", "image_tokens"], "output_image_tokens"),
    field(&["cached_tokens_details", "cached_image_tokens"], "cache_image_read_tokens"),
    field(&["cached_tokens_details", "cached_text_tokens"], "cache_text_read_tokens"),
];

/// OpenAI's and xAI's realtime usage: the singular `_token_details`, by modality.
pub(super) const REALTIME: &[Field] = &[
    field(&["input_token_details", "audio_tokens"], "input_audio_tokens"),
    field(&["input_token_details", "image_tokens"], "input_image_tokens"),
    field(&["input_token_details", "cached_tokens"], "cache_read_tokens"),
    field(&["input_token_details", "cached_tokens_details", "text_tokens"], "cache_text_read_tokens"),
    field(&["input_token_details", "cached_tokens_details", "audio_tokens"], "cache_audio_read_tokens"),
    field(&["input_token_details", "cached_tokens_details", "image_tokens"], "cache_image_read_tokens"),
    field(&["output_token_details", "audio_tokens"], "output_audio_tokens"),
    field(&["billable_audio_seconds"], "audio_seconds"),
    field(&["input_text_messages"], "input_text_messages"),
];

pub(super) const ANTHROPIC: &[Field] = &[
    field(&["input_tokens"], "input_tokens"),
    field(&["cache_read_input_tokens"], "input_tokens"),
    field(&["cache_creation_input_tokens"], "input_tokens"),
    field(&["output_tokens"], "output_tokens"),
    field(&["cache_read_input_tokens"], "cache_read_tokens"),
    field(&["cache_creation_input_tokens"], "cache_write_tokens"),
    field(&["cache_creation", "ephemeral_5m_input_tokens"], "cache_write_5m_tokens"),
    field(&["cache_creation", "ephemeral_1h_input_tokens"], "cache_write_1h_tokens"),
    field(&["output_tokens_details", "thinking_tokens"], "output_reasoning_tokens"),
    field(&["server_tool_use", "web_search_requests"], "web_searches"),
];

/// Fields that distinguish Anthropic's format from OpenAI's, which has two names in common with it.
pub(super) const ANTHROPIC_ALONE: &[&str] =
    &["cache_creation_input_tokens", "cache_read_input_tokens", "cache_creation", "server_tool_use"];

pub(super) const CONVERSE: &[Field] = &[
    field(&["inputTokens"], "input_tokens"),
    field(&["cacheReadInputTokens"], "input_tokens"),
    field(&["cacheWriteInputTokens"], "input_tokens"),
    field(&["outputTokens"], "output_tokens"),
    field(&["cacheReadInputTokens"], "cache_read_tokens"),
    field(&["cacheWriteInputTokens"], "cache_write_tokens"),
    field(&["cacheDetails", "ttl=5m", "inputTokens"], "cache_write_5m_tokens"),
    field(&["cacheDetails", "ttl=1h", "inputTokens"], "cache_write_1h_tokens"),
];

/// Nova's names in a body, in addition to or instead of Converse's.
pub(super) const NOVA: &[Field] = &[
    field(&["cacheReadInputTokenCount"], "cache_read_tokens"),
    field(&["cacheWriteInputTokenCount"], "cache_write_tokens"),
];

/// `InvokeModel`'s metrics: other names for Anthropic's three parts of input.
pub(super) const INVOKE: &[Field] = &[
    field(&["inputTokenCount"], "input_tokens"),
    field(&["cacheReadInputTokenCount"], "input_tokens"),
    field(&["cacheWriteInputTokenCount"], "input_tokens"),
    field(&["outputTokenCount"], "output_tokens"),
    field(&["cacheReadInputTokenCount"], "cache_read_tokens"),
    field(&["cacheWriteInputTokenCount"], "cache_write_tokens"),
    // In bodies: Titan's names, then Llama's.
    field(&["inputTextTokenCount"], "input_tokens"),
    field(&["totalOutputTextTokenCount"], "output_tokens"),
    field(&["prompt_token_count"], "input_tokens"),
    field(&["generation_token_count"], "output_tokens"),
];

/// The totals. [`super::usage`] decides which counts they include.
pub(super) const GEMINI_TOTALS: &[Field] =
    &[field(&["promptTokenCount"], "input_tokens"), field(&["candidatesTokenCount"], "output_tokens")];

/// Documents are billed as images.
pub(super) const GEMINI: &[Field] = &[
    field(&["cachedContentTokenCount"], "cache_read_tokens"),
    field(&["cacheTokensDetails", "modality=TEXT", "tokenCount"], "cache_text_read_tokens"),
    field(&["cacheTokensDetails", "modality=AUDIO", "tokenCount"], "cache_audio_read_tokens"),
    field(&["cacheTokensDetails", "modality=IMAGE", "tokenCount"], "cache_image_read_tokens"),
    field(&["cacheTokensDetails", "modality=DOCUMENT", "tokenCount"], "cache_image_read_tokens"),
    field(&["cacheTokensDetails", "modality=VIDEO", "tokenCount"], "cache_video_read_tokens"),
    field(&["promptTokensDetails", "modality=AUDIO", "tokenCount"], "input_audio_tokens"),
    field(&["promptTokensDetails", "modality=IMAGE", "tokenCount"], "input_image_tokens"),
    field(&["promptTokensDetails", "modality=DOCUMENT", "tokenCount"], "input_image_tokens"),
    field(&["promptTokensDetails", "modality=VIDEO", "tokenCount"], "input_video_tokens"),
    field(&["candidatesTokensDetails", "modality=AUDIO", "tokenCount"], "output_audio_tokens"),
    field(&["candidatesTokensDetails", "modality=IMAGE", "tokenCount"], "output_image_tokens"),
    field(&["candidatesTokensDetails", "modality=DOCUMENT", "tokenCount"], "output_image_tokens"),
    field(&["candidatesTokensDetails", "modality=VIDEO", "tokenCount"], "output_video_tokens"),
    field(&["thoughtsTokenCount"], "output_reasoning_tokens"),
    field(&["toolUsePromptTokenCount"], "input_tool_tokens"),
    field(&["toolUsePromptTokensDetails", "modality=AUDIO", "tokenCount"], "input_audio_tokens"),
    field(&["toolUsePromptTokensDetails", "modality=AUDIO", "tokenCount"], "input_audio_tool_tokens"),
    field(&["toolUsePromptTokensDetails", "modality=IMAGE", "tokenCount"], "input_image_tokens"),
    field(&["toolUsePromptTokensDetails", "modality=IMAGE", "tokenCount"], "input_image_tool_tokens"),
    field(&["toolUsePromptTokensDetails", "modality=DOCUMENT", "tokenCount"], "input_image_tokens"),
    field(&["toolUsePromptTokensDetails", "modality=DOCUMENT", "tokenCount"], "input_image_tool_tokens"),
    field(&["toolUsePromptTokensDetails", "modality=VIDEO", "tokenCount"], "input_video_tokens"),
    field(&["toolUsePromptTokensDetails", "modality=VIDEO", "tokenCount"], "input_video_tool_tokens"),
];

/// The totals of Gemini's interactions, which have other names.
pub(super) const INTERACTION_TOTALS: &[Field] =
    &[field(&["total_input_tokens"], "input_tokens"), field(&["total_output_tokens"], "output_tokens")];

pub(super) const INTERACTIONS: &[Field] = &[
    field(&["total_cached_tokens"], "cache_read_tokens"),
    field(&["total_thought_tokens"], "output_reasoning_tokens"),
    field(&["total_tool_use_tokens"], "input_tool_tokens"),
    field(&["cached_tokens_by_modality", "modality=text", "tokens"], "cache_text_read_tokens"),
    field(&["cached_tokens_by_modality", "modality=audio", "tokens"], "cache_audio_read_tokens"),
    field(&["cached_tokens_by_modality", "modality=image", "tokens"], "cache_image_read_tokens"),
    field(&["cached_tokens_by_modality", "modality=document", "tokens"], "cache_image_read_tokens"),
    field(&["cached_tokens_by_modality", "modality=video", "tokens"], "cache_video_read_tokens"),
    field(&["input_tokens_by_modality", "modality=audio", "tokens"], "input_audio_tokens"),
    field(&["input_tokens_by_modality", "modality=image", "tokens"], "input_image_tokens"),
    field(&["input_tokens_by_modality", "modality=document", "tokens"], "input_image_tokens"),
    field(&["input_tokens_by_modality", "modality=video", "tokens"], "input_video_tokens"),
    field(&["output_tokens_by_modality", "modality=audio", "tokens"], "output_audio_tokens"),
    field(&["output_tokens_by_modality", "modality=image", "tokens"], "output_image_tokens"),
    field(&["output_tokens_by_modality", "modality=video", "tokens"], "output_video_tokens"),
    field(&["grounding_tool_count", "type=google_search", "count"], "web_searches"),
];

pub(super) const COHERE: &[Field] = &[
    field(&["billed_units", "input_tokens"], "input_tokens"),
    field(&["billed_units", "output_tokens"], "output_tokens"),
    field(&["billed_units", "search_units"], "rerank_searches"),
    field(&["billed_units", "images"], "input_images"),
];

/// Without `billed_units`, which some hosts of Cohere's models do not report.
pub(super) const COHERE_TOKENS: &[Field] =
    &[field(&["tokens", "input_tokens"], "input_tokens"), field(&["tokens", "output_tokens"], "output_tokens")];

pub(super) const OLLAMA: &[Field] =
    &[field(&["prompt_eval_count"], "input_tokens"), field(&["eval_count"], "output_tokens")];

pub(super) const LANGCHAIN: &[Field] = &[
    field(&["input_tokens"], "input_tokens"),
    field(&["output_tokens"], "output_tokens"),
    field(&["input_token_details", "cache_read"], "cache_read_tokens"),
    field(&["input_token_details", "cache_creation"], "cache_write_tokens"),
    field(&["input_token_details", "ephemeral_5m_input_tokens"], "cache_write_5m_tokens"),
    field(&["input_token_details", "ephemeral_1h_input_tokens"], "cache_write_1h_tokens"),
    field(&["input_token_details", "audio"], "input_audio_tokens"),
    field(&["output_token_details", "reasoning"], "output_reasoning_tokens"),
    field(&["output_token_details", "audio"], "output_audio_tokens"),
];

pub(super) const OPENTELEMETRY: &[Field] = &[
    field(&["gen_ai.usage.input_tokens"], "input_tokens"),
    field(&["gen_ai.usage.output_tokens"], "output_tokens"),
    field(&["gen_ai.usage.cache_read.input_tokens"], "cache_read_tokens"),
    field(&["gen_ai.usage.cache_creation.input_tokens"], "cache_write_tokens"),
    field(&["gen_ai.usage.reasoning.output_tokens"], "output_reasoning_tokens"),
];
