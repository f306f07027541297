//! The totals of Gemini's usage reports, which do not include all of their parts.

use serde_json::Value;

use super::fields::{count, find};
use super::tables::{self, Field};
use crate::event::usage::MAX_COUNT;
use crate::event::{Unit, Usage};

/// The names of the totals in one of Gemini's two formats.
pub(super) struct Totals {
    prompt: &'static str,
    tool: &'static str,
    answer: &'static str,
    thoughts: &'static str,
    pub(super) all: &'static str,
    /// The totals that a report must state as numbers.
    pub(super) fields: &'static [Field],
}

const GENERATION: Totals = Totals {
    prompt: "promptTokenCount",
    tool: "toolUsePromptTokenCount",
    answer: "candidatesTokenCount",
    thoughts: "thoughtsTokenCount",
    all: "totalTokenCount",
    fields: tables::GEMINI_TOTALS,
};
const INTERACTION: Totals = Totals {
    prompt: "total_input_tokens",
    tool: "total_tool_use_tokens",
    answer: "total_output_tokens",
    thoughts: "total_thought_tokens",
    all: "total_tokens",
    fields: tables::INTERACTION_TOTALS,
};

impl Totals {
    /// The names that a report uses: those of interactions, or of `generateContent`.
    pub(super) fn of(report: &Value) -> &'static Self {
        if find(report, &[INTERACTION.prompt]).is_some() { &INTERACTION } else { &GENERATION }
    }

    pub(super) fn is_interaction(&self) -> bool {
        self.prompt == INTERACTION.prompt
    }
}

/// Sets the totals. Thoughts and tool use are not included in the answer and the prompt, unless the total shows otherwise.
pub(super) fn gemini(usage: &mut Usage, report: &Value, names: &Totals) {
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
