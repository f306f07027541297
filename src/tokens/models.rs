//! The encodings of OpenAI's models.
//!
//! The tables are those of `tiktoken` 0.14 (`tiktoken/model.py`).

/// Names of single models.
const MODELS: [(&str, &str); 45] = [
    ("o1", "o200k_base"),
    ("o3", "o200k_base"),
    ("o4-mini", "o200k_base"),
    ("gpt-5", "o200k_base"),
    ("gpt-4.1", "o200k_base"),
    ("gpt-4o", "o200k_base"),
    ("gpt-4", "cl100k_base"),
    ("gpt-3.5-turbo", "cl100k_base"),
    ("gpt-3.5", "cl100k_base"),
    ("gpt-35-turbo", "cl100k_base"),
    ("davinci-002", "cl100k_base"),
    ("babbage-002", "cl100k_base"),
    ("text-embedding-ada-002", "cl100k_base"),
    ("text-embedding-3-small", "cl100k_base"),
    ("text-embedding-3-large", "cl100k_base"),
    ("text-davinci-003", "p50k_base"),
    ("text-davinci-002", "p50k_base"),
    ("text-davinci-001", "r50k_base"),
    ("text-curie-001", "r50k_base"),
    ("text-babbage-001", "r50k_base"),
    ("text-ada-001", "r50k_base"),
    ("davinci", "r50k_base"),
    ("curie", "r50k_base"),
    ("babbage", "r50k_base"),
    ("ada", "r50k_base"),
    ("code-davinci-002", "p50k_base"),
    ("code-davinci-001", "p50k_base"),
    ("code-cushman-002", "p50k_base"),
    ("code-cushman-001", "p50k_base"),
    ("davinci-codex", "p50k_base"),
    ("cushman-codex", "p50k_base"),
    ("text-davinci-edit-001", "p50k_edit"),
    ("code-davinci-edit-001", "p50k_edit"),
    ("text-similarity-davinci-001", "r50k_base"),
    ("text-similarity-curie-001", "r50k_base"),
    ("text-similarity-babbage-001", "r50k_base"),
    ("text-similarity-ada-001", "r50k_base"),
    ("text-search-davinci-doc-001", "r50k_base"),
    ("text-search-curie-doc-001", "r50k_base"),
    ("text-search-babbage-doc-001", "r50k_base"),
    ("text-search-ada-doc-001", "r50k_base"),
    ("code-search-babbage-code-001", "r50k_base"),
    ("code-search-ada-code-001", "r50k_base"),
    ("gpt2", "gpt2"),
    ("gpt-2", "gpt2"),
];

/// Prefixes of the names of model families.
const FAMILIES: [(&str, &str); 12] = [
    ("o1-", "o200k_base"),
    ("o3-", "o200k_base"),
    ("o4-mini-", "o200k_base"),
    ("gpt-5", "o200k_base"),
    ("gpt-4.5-", "o200k_base"),
    ("gpt-4.1-", "o200k_base"),
    ("chatgpt-4o-", "o200k_base"),
    ("gpt-4o-", "o200k_base"),
    ("gpt-4-", "cl100k_base"),
    ("gpt-3.5-turbo-", "cl100k_base"),
    ("gpt-35-turbo-", "cl100k_base"),
    ("gpt-oss-", "o200k_harmony"),
];

/// The name of a model's encoding, if OpenAI's tables have the model.
#[must_use]
pub fn encoding_of(model: &str) -> Option<&'static str> {
    let name = bare(model);
    let exact = MODELS.iter().find(|(known, _)| *known == name);
    let found = exact.or_else(|| FAMILIES.iter().find(|(prefix, _)| name.starts_with(prefix)));
    found.map(|(_, encoding)| *encoding)
}

/// The bare name of a model in lower case.
///
/// This removes the namespaces of hosts that serve OpenAI's models (`openai/`, `azure/`, `us.openai.`, `databricks-`), the parts that
/// mark fine-tuning (`ft:`, and what follows the model name then), and variants (`:free`, `@2024-08-06`). A name in any other
/// namespace is returned unchanged, and matches no model of OpenAI.
fn bare(model: &str) -> String {
    let model = model.trim().to_lowercase();
    let (namespace, name) = model.rsplit_once('/').unwrap_or(("", &model));
    let host = namespace.rsplit('/').next().unwrap_or_default();
    let is_host =
        host.starts_with("azure") || matches!(host, "" | "openai" | "aws" | "bedrock" | "github" | "databricks");
    let (region, own) = name.split_once("openai.").unwrap_or(("", name));
    let is_region = region.is_empty() || region.find('.') == Some(region.len() - 1);
    if !is_host || !is_region {
        return model;
    }
    let own = own.strip_prefix("databricks-").unwrap_or(own);
    let own = own.strip_prefix("ft:").unwrap_or(own);
    own.split([':', '@']).next().unwrap_or(own).to_owned()
}
