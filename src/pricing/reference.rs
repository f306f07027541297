//! The many ways to write one model: what is taken off a reference that the catalog does not know as it stands.

/// What an Amazon resource name leads to.
pub(super) enum Arn<'a> {
    /// It ends in a model id: a foundation model or a profile of the system's own.
    Model(&'a str),
    /// A profile, import or deployment of an account: its name tells nothing of the model behind it.
    Opaque,
}

/// Reads an Amazon resource name; `None` when it is none.
pub(super) fn arn(reference: &str) -> Option<Arn<'_>> {
    let resource = reference.strip_prefix("arn:")?.rsplit(':').find(|part| part.contains('/')).unwrap_or_default();
    // The id of a model has colons itself: `…:foundation-model/anthropic.claude-…-v1:0`.
    let start = reference.find(resource).unwrap_or_default();
    Some(match reference[start..].split_once('/') {
        Some(("foundation-model" | "inference-profile", id)) if !id.is_empty() => Arn::Model(id),
        _ => Arn::Opaque,
    })
}

/// Other ways to write `reference` (in lower case), the nearest first.
///
/// A fine-tuned model has no other way: what is left without its name is another model, with another price.
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
    // Vertex AI's `projects/…/models/ID` and `publishers/…/models/ID`, Gemini's `models/ID`.
    let path = reference.rsplit_once("models/").map_or(reference, |(_, id)| id);
    // litellm's `bedrock/converse/ID`, `vertex_ai/ID`, `azure/ID`, `openai/ID`.
    let mut bare = path;
    for route in ["bedrock/", "converse/", "invoke/", "vertex_ai/", "azure/", "openai/", "anthropic/", "gemini/"] {
        bare = bare.strip_prefix(route).unwrap_or(bare);
    }
    add(bare);
    // Claude Code's mark for a longer context, `[1m]`.
    let unmarked = bare.split_once('[').filter(|(_, mark)| mark.ends_with(']')).map_or(bare, |(model, _)| model);
    add(unmarked);
    // Vertex AI's `@20250929` and `@default`.
    if let Some((model, version)) = unmarked.split_once('@') {
        add(&format!("{model}-{version}"));
        add(model);
    }
    // Bedrock's `-v1:0`.
    let unversioned = unmarked.rsplit_once("-v").filter(|(_, version)| is_version(version)).map(|(model, _)| model);
    if let Some(model) = unversioned {
        add(model);
    }
    spellings
}

fn is_version(text: &str) -> bool {
    let (major, minor) = text.split_once(':').unwrap_or((text, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    is_number(major) && is_number(minor)
}

/// The reference without the date of its snapshot: `-2025-09-29`, `-20250929` or `@20250929` at the end.
pub(super) fn undated(reference: &str) -> Option<&str> {
    let digits =
        |text: &str| text.len() == 8 && text.starts_with("20") && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((model, date)) = reference.rsplit_once(['-', '@'])
        && digits(date)
    {
        return Some(model);
    }
    let (model, date) = reference.split_at_checked(reference.len().checked_sub(11)?)?;
    let plain = date.strip_prefix('-')?.replace('-', "");
    (date.matches('-').count() == 3 && digits(&plain)).then_some(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_marks_versions_and_dates_are_taken_off() {
        for (reference, last) in [
            ("bedrock/converse/us.anthropic.claude-opus-5-v1:0", Some("us.anthropic.claude-opus-5")),
            ("claude-sonnet-4-5[1m]", Some("claude-sonnet-4-5")),
            ("claude-opus-5@20260101", Some("claude-opus-5")),
            ("projects/p/locations/l/publishers/google/models/gemini-2.5-pro", Some("gemini-2.5-pro")),
            ("models/gemini-2.5-pro", Some("gemini-2.5-pro")),
            ("ft:gpt-4.1:acme::id", None),
            ("gpt-4o", None),
        ] {
            assert_eq!(spellings(reference).last().map(String::as_str), last, "{reference}");
        }
        assert_eq!(spellings("claude-opus-5@20260101")[0], "claude-opus-5-20260101");
    }

    #[test]
    fn only_arns_that_end_in_a_model_lead_to_one() {
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
    fn dates_of_snapshots_are_known_by_their_form() {
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
