//! Tools that run at the provider and are billed per use, as far as a response shows them, in addition to tokens.
//!
//! A tool call counts if it was made, whatever tools the request declared. The messages of a stream have running totals or complete
//! answers, so the largest count of several messages is used.

use std::collections::HashSet;
use std::hash::BuildHasher as _;

use super::message::{Answer, Answers, Item, Message};
use super::usage::{Dialect, Family};
use super::wire::Json;
use crate::event::{Unit, Usage};

/// The most distinct queries that are counted in one response. The longest responses of research models have a few hundred.
const MAX_QUERIES: usize = 10_000;

const WEB: Unit = Unit::named("web_searches");
const STORAGE: Unit = Unit::named("storage_searches");
const CODE: Unit = Unit::named("code_executions");
const MAPS: Unit = Unit::named("map_searches");

/// The number of uses of each tool.
#[derive(Default)]
pub(super) struct Tools {
    web: u64,
    storage: u64,
    code: u64,
    /// Whether the answer uses map data, and whether it uses the user's own documents.
    has_maps: bool,
    has_documents: bool,
    /// The hashes of the distinct queries that Gemini sent to the search. The texts belong to the user and are not kept.
    queries: HashSet<u64>,
}

impl Tools {
    /// Counts the tools that a message shows.
    pub(super) fn note(&mut self, message: &Message<'_>, answers: &Answers<'_>, family: Family) {
        match family {
            Family::OpenAi => {
                self.items(message.output);
                self.choices(message.choices);
                // z.ai's answer lists the pages that its search found.
                if message.web_search.first().is_some() {
                    self.web = self.web.max(1);
                }
            }
            Family::Gemini if answers.has_sources => self.grounding(message.candidates),
            _ => {}
        }
    }

    /// The items of an OpenAI response.
    fn items(&mut self, output: Json<'_>) {
        if !output.contains("_call\"") {
            return;
        }
        let (mut web, mut storage, mut code) = (0, 0, 0);
        let mut containers: HashSet<u64> = HashSet::new();
        output.each(|item: Item<'_>| {
            let kind = item.r#type.text();
            if item.status.text().is_some_and(|status| status == "failed") {
                return;
            }
            match kind.as_deref() {
                // Opening a page, or searching in it, is not billed.
                Some("web_search_call") => {
                    let action = item.action.object().and_then(|action: Item<'_>| action.r#type.text());
                    web += u64::from(action.is_none_or(|action| action == "search"));
                }
                Some("file_search_call") => storage += 1,
                // A container is billed once, however often it is used.
                Some("code_interpreter_call") => {
                    let container = item.container_id.text();
                    code += u64::from(container.is_none_or(|id| containers.insert(hash(&id))));
                }
                _ => {}
            }
        });
        self.web = self.web.max(web);
        self.storage = self.storage.max(storage);
        self.code = self.code.max(code);
    }

    /// Groq's compound systems list the tools they ran. Moonshot's search is a function that Moonshot runs itself.
    fn choices(&mut self, choices: Json<'_>) {
        if !choices.contains("executed_tools\"") && !choices.contains("\"$web_search\"") {
            return;
        }
        let (mut web, mut code) = (0, 0);
        choices.each(|choice: Item<'_>| {
            let Some(answer) = choice.message.or(choice.delta).object::<Item<'_>>() else { return };
            answer.executed_tools.each(|tool: Item<'_>| match tool.r#type.text().as_deref() {
                Some("search" | "web_search") => web += 1,
                Some("python" | "code_execution" | "code_interpreter") => code += 1,
                _ => {}
            });
            answer.tool_calls.each(|call: Item<'_>| {
                let name = call.function.object().and_then(|function: Item<'_>| function.called.text());
                web += u64::from(name.is_some_and(|name| name == "$web_search"));
            });
        });
        self.web = self.web.max(web);
        self.code = self.code.max(code);
    }

    /// The sources of Gemini's answers.
    fn grounding(&mut self, candidates: Json<'_>) {
        candidates.each(|candidate: Answer<'_>| {
            let Some(grounding) = candidate.grounding.object::<Item<'_>>() else { return };
            grounding.web_queries.each_text(|query| {
                if self.queries.len() < MAX_QUERIES && !query.trim().is_empty() {
                    self.queries.insert(hash(query));
                }
            });
            grounding.grounding_chunks.each(|chunk: Item<'_>| {
                self.has_maps |= chunk.maps.is_some();
                self.has_documents |= chunk.retrieved.is_some();
            });
        });
    }

    /// Adds the counts to the usage, if the usage report has none.
    pub(super) fn add_to(&self, usage: &mut Usage, family: Family, dialect: Dialect, model: Option<&str>) {
        let is_google = matches!(dialect, Dialect::Gemini | Dialect::Vertex);
        let is_by_prompt = is_google && model.is_some_and(is_billed_by_prompt);
        let queries = self.queries.len() as u64;
        // These models search the web for every request.
        let always = family == Family::OpenAi
            && model.is_some_and(|model| model.contains("-search-preview") || model.contains("-search-api"));
        for (unit, count) in [
            (WEB, self.web.max(queries).max(u64::from(always))),
            (STORAGE, self.storage.max(u64::from(self.has_documents && dialect == Dialect::Vertex))),
            (CODE, self.code),
            (MAPS, u64::from(self.has_maps)),
        ] {
            if count > 0 && usage.count(unit) == 0 {
                usage.set(unit, count);
            }
        }
        if is_by_prompt && usage.count(WEB) > 1 {
            usage.set(WEB, 1);
        }
    }
}

/// Whether searches are billed per prompt: so for Gemini 1 and 2; later models are billed per query.
fn is_billed_by_prompt(model: &str) -> bool {
    model.rsplit('/').next().is_some_and(|name| name.starts_with("gemini-1") || name.starts_with("gemini-2"))
}

fn hash(text: &str) -> u64 {
    foldhash::fast::FixedState::with_seed(0x7461_7869).hash_one(text)
}
