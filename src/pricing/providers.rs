//! The names of providers: a canonical name, its aliases, and its id in the catalog.

use std::borrow::Cow;

/// Canonical name, catalog id, aliases. Canonical names are the well-known values of OpenTelemetry's `gen_ai.provider.name` if there
/// is one. Any other provider is named by its catalog id.
const KNOWN: &[(&str, &str, &[&str])] = &[
    ("openai", "openai", &[]),
    ("anthropic", "anthropic", &["claude"]),
    (
        "aws.bedrock",
        "aws",
        &["aws", "bedrock", "aws_bedrock", "aws-bedrock", "amazon_bedrock", "amazon-bedrock", "amazon"],
    ),
    ("azure.ai.openai", "azure", &["azure", "azure_openai", "azure-openai", "azureopenai"]),
    ("azure.ai.inference", "azure", &["azure_ai", "azure-ai"]),
    ("gcp.gemini", "google", &["google", "gemini", "google_genai", "google-genai", "google_ai_studio"]),
    ("gcp.vertex_ai", "google", &["vertex", "vertexai", "vertex_ai", "vertex-ai", "google_vertexai"]),
    ("gcp.gen_ai", "google", &[]),
    ("mistral_ai", "mistral", &["mistral", "mistralai"]),
    ("x_ai", "x-ai", &["x-ai", "xai", "grok"]),
    ("moonshot_ai", "moonshotai", &["moonshot", "moonshotai"]),
    ("together", "together", &["together_ai", "together-ai", "togetherai"]),
    ("fireworks", "fireworks", &["fireworks_ai", "fireworks-ai"]),
];

/// The canonical name of a provider. An unknown name is kept, trimmed and in lower case.
#[must_use]
pub fn canonical_provider(name: &str) -> Cow<'_, str> {
    // A shortcut for the two names in nearly every event.
    if name == "openai" || name == "anthropic" {
        return Cow::Borrowed(name);
    }
    let trimmed = name.trim();
    let lower: Cow<'_, str> = if trimmed.bytes().any(|byte| byte.is_ascii_uppercase()) {
        trimmed.to_ascii_lowercase().into()
    } else {
        trimmed.into()
    };
    KNOWN
        .iter()
        .find(|(canonical, _, aliases)| *canonical == lower || aliases.contains(&&*lower))
        .map_or(lower, |(canonical, ..)| Cow::Borrowed(*canonical))
}

/// The catalog id of a canonical name.
pub(super) fn catalog_id(canonical: &str) -> &str {
    KNOWN.iter().find(|(name, ..)| *name == canonical).map_or(canonical, |(_, id, _)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_and_spellings_have_one_canonical_name() {
        for (given, canonical) in [
            ("openai", "openai"),
            (" OpenAI ", "openai"),
            ("Bedrock", "aws.bedrock"),
            ("azure", "azure.ai.openai"),
            ("gemini", "gcp.gemini"),
            ("my-gateway", "my-gateway"),
        ] {
            assert_eq!(canonical_provider(given), canonical);
        }
        assert_eq!(catalog_id("aws.bedrock"), "aws");
        assert_eq!(catalog_id("groq"), "groq");
    }
}
