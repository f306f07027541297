//! The many ways to write a model reference: removes the parts that the catalog does not know.

use super::providers::canonical_provider;

/// The meaning of an Amazon resource name.
pub(super) enum Arn<'a> {
    /// It ends with a model id: a foundation model, or an inference profile of the system.
    Model(&'a str),
    /// It is an account's own profile, import or deployment. Its name does not contain the model.
    Opaque,
}

/// Parses an Amazon resource name; `None` if the reference is not one.
pub(super) fn arn(reference: &str) -> Option<Arn<'_>> {
    let resource = reference.strip_prefix("arn:")?.rsplit(':').find(|part| part.contains('/')).unwrap_or_default();
    // The id of a model may contain colons: `…:foundation-model/anthropic.claude-…-v1:0`.
    let start = reference.find(resource).unwrap_or_default();
    Some(match reference[start..].split_once('/') {
        Some(("foundation-model" | "inference-profile", id)) if !id.is_empty() => Arn::Model(id),
        _ => Arn::Opaque,
    })
}

/// Other ways to write `reference` (in lower case), the most similar first.
///
/// Only parts that do not change the model are removed. A fine-tuned model has no other spelling: without its own name, the rest is
/// another model with another price.
pub(super) fn spellings(reference: &str) -> Vec<String> {
    if reference.starts_with("ft:") {
        return Vec::new();
    }
    let mut spellings: Vec<String> = Vec::new();
    let mut add = |spelling: &str| {
        if !spelling.is_empty() && spelling != reference && spellings.iter().all(|known| known != spelling) {
            spellings.push(spelling.to_owned());
        }
    };
    // Vertex AI's `projects/…/models/ID` and `publishers/…/models/ID`, Gemini's `models/ID`; but not `tunedModels/ID`.
    let path = reference.strip_prefix("models/").or_else(|| reference.rsplit_once("/models/").map(|(_, id)| id));
    // litellm's `bedrock/converse/ID`, `vertex_ai/ID`, `azure/ID`, `openai/ID`.
    let mut bare = path.unwrap_or(reference);
    for route in
        ["bedrock/", "converse/", "invoke/", "vertex_ai/", "azure/", "openai/", "responses/", "anthropic/", "gemini/"]
    {
        bare = bare.strip_prefix(route).unwrap_or(bare);
    }
    add(bare);
    // Claude Code's mark for a longer context.
    let unmarked = bare.strip_suffix("[1m]").unwrap_or(bare);
    add(unmarked);
    // Vertex AI's `@20250929` and `@default`.
    if let Some((model, version)) = unmarked.split_once('@')
        && (version == "default" || is_date(version))
    {
        add(&format!("{model}-{version}"));
        add(model);
    }
    // Bedrock's `-v1:0`. Without the colon, it would be a part of the model's own name.
    if let Some((model, version)) = unmarked.rsplit_once("-v")
        && let Some((major, minor)) = version.split_once(':')
        && is_number(major)
        && is_number(minor)
    {
        add(model);
    }
    spellings
}

/// The geography of a Bedrock reference: the prefix of a profile (`eu.` in `eu.amazon.nova-pro-v1:0`), or a partition.
pub(super) fn geography(reference: &str) -> Option<&str> {
    const GEOGRAPHIES: [&str; 11] = ["us", "us-gov", "eu", "apac", "jp", "au", "in", "ca", "sa", "me", "global"];
    for (partition, geography) in [("arn:aws-us-gov:", "us-gov"), ("arn:aws-cn:", "cn")] {
        if reference.starts_with(partition) {
            return Some(geography);
        }
    }
    let id = reference.rsplit_once('/').map_or(reference, |(_, id)| id);
    let (prefix, rest) = id.split_once('.')?;
    (GEOGRAPHIES.contains(&prefix) && rest.contains('.')).then_some(prefix)
}

/// How OpenRouter routes a call, which the suffix of the model's name sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenRouter {
    /// To a free model.
    Free,
    /// With a search, by price or by speed, which may change the cost.
    Otherwise,
}

/// A reference of OpenRouter without its suffix, and the meaning of the suffix; `None` if it has no known suffix.
pub(super) fn open_router(reference: &str) -> Option<(&str, OpenRouter)> {
    let (model, suffix) = reference.rsplit_once(':')?;
    match suffix {
        "free" => Some((model, OpenRouter::Free)),
        "online" | "nitro" | "floor" | "exacto" | "extended" | "thinking" | "beta" => {
            Some((model, OpenRouter::Otherwise))
        }
        _ => None,
    }
}

/// Whether a call is made to one of OpenRouter's free models. They come and go, and their names say that they are free.
pub(super) fn is_free_by_name(provider: Option<&str>, reference: &str) -> bool {
    let is_free = reference.ends_with(":free");
    is_free
        && match provider.map(canonical_provider).as_deref() {
            None | Some("litellm" | "litellm_proxy") => reference.contains("openrouter/"),
            Some(name) => name == "openrouter",
        }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_date(text: &str) -> bool {
    text.len() == 8 && text.starts_with("20") && is_number(text)
}

/// The reference without the date of its snapshot: `-2025-09-29`, `-20250929` or `@20250929` at the end.
pub(super) fn undated(reference: &str) -> Option<&str> {
    if let Some((model, date)) = reference.rsplit_once(['-', '@'])
        && is_date(date)
    {
        return Some(model);
    }
    let (model, date) = reference.split_at_checked(reference.len().checked_sub(11)?)?;
    let plain = date.strip_prefix('-')?.replace('-', "");
    (date.matches('-').count() == 3 && is_date(&plain)).then_some(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_marks_versions_and_dates_are_removed() {
        for (reference, last) in [
            ("bedrock/converse/us.anthropic.claude-opus-5-v1:0", Some("us.anthropic.claude-opus-5")),
            ("claude-sonnet-4-5[1m]", Some("claude-sonnet-4-5")),
            ("claude-opus-5@20260101", Some("claude-opus-5")),
            ("projects/p/locations/l/publishers/google/models/gemini-2.5-pro", Some("gemini-2.5-pro")),
            ("models/gemini-2.5-pro", Some("gemini-2.5-pro")),
            ("us.anthropic.claude-opus-5-v1:0", Some("us.anthropic.claude-opus-5")),
            ("ft:gpt-4.1:acme::id", None),
            ("gpt-4o", None),
            ("gpt-4o-v2", None),
            ("gpt-4o@my-tune", None),
            ("gpt-4o[experimental]", None),
            ("tunedmodels/gemini-2.5-pro-abc", None),
        ] {
            assert_eq!(spellings(reference).last().map(String::as_str), last, "{reference}");
        }
        assert_eq!(spellings("claude-opus-5@20260101")[0], "claude-opus-5-20260101");
    }

    #[test]
    fn r17_a_profile_begins_with_its_geography() {
        assert_eq!(geography("eu.amazon.nova-pro-v1:0"), Some("eu"));
        assert_eq!(geography("bedrock/converse/eu.amazon.nova-pro-v1:0"), Some("eu"));
        assert_eq!(geography("arn:aws:bedrock:eu-west-1:1:inference-profile/eu.amazon.nova-pro-v1:0"), Some("eu"));
        assert_eq!(
            geography("arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/amazon.nova-pro-v1:0"),
            Some("us-gov")
        );
        for plain in ["anthropic.claude-opus-5", "gpt-4.1", "gpt-4o"] {
            assert_eq!(geography(plain), None, "{plain}");
        }
    }

    #[test]
    fn only_arns_that_end_with_a_model_identify_one() {
        let model = |text| match arn(text) {
            Some(Arn::Model(id)) => Some(id.to_owned()),
            _ => None,
        };
        let profile = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-5-v1:0";
        assert_eq!(model(profile).unwrap(), "us.anthropic.claude-opus-5-v1:0");
        let foundation = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0";
        assert_eq!(model(foundation).unwrap(), "amazon.nova-pro-v1:0");
        for opaque in ["arn:aws:bedrock:eu-west-1:1:application-inference-profile/claude-opus-5", "arn:", "arn:aws:x"] {
            assert!(matches!(arn(opaque), Some(Arn::Opaque)), "{opaque}");
        }
        assert!(arn("gpt-4o").is_none());
    }

    #[test]
    fn snapshot_dates_are_recognized_by_their_form() {
        for (reference, plain) in [
            ("gpt-4o-2024-08-06", Some("gpt-4o")),
            ("claude-sonnet-4-5-20250929", Some("claude-sonnet-4-5")),
            ("claude-sonnet-4-5@20250929", Some("claude-sonnet-4-5")),
            ("gpt-4o", None),
            ("gpt-4-0613", None),
            ("é-20250929", Some("é")),
            ("ééééééé", None),
        ] {
            assert_eq!(undated(reference), plain, "{reference}");
        }
    }
}
