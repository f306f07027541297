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

/// The most distinct uses or queries that are counted in one response. The longest responses of research models have a few hundred.
const MAX_USES: usize = 10_000;

const WEB: Unit = Unit::named("web_searches");
const STORAGE: Unit = Unit::named("storage_searches");
const CODE: Unit = Unit::named("code_executions");
const MAPS: Unit = Unit::named("map_searches");
const SOCIAL: Unit = Unit::named("social_searches");
const IMAGES: Unit = Unit::named("output_images");

/// A tool that is billed per use.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Tool {
    Web,
    Social,
    Storage,
    Code,
    Image,
}

/// The uses of each tool.
#[derive(Default)]
pub(super) struct Tools {
    /// The distinct uses. A stream shows a use more than once: as its item begins, as it ends, and in the whole response.
    uses: HashSet<(Tool, u64)>,
    /// Whether the answer uses map data, and whether it uses the user's own documents.
    has_maps: bool,
    has_documents: bool,
    /// The hashes of the distinct queries that Gemini sent to the search. The texts belong to the user and are not kept.
    queries: HashSet<u64>,
}

impl Tools {
    /// Counts the tools that a message shows. `kind` is the message's type.
    pub(super) fn note(&mut self, message: &Message<'_>, answers: &Answers<'_>, family: Family, kind: &str) {
        match family {
            Family::OpenAi => {
                self.items(message.output, "_call\"", Self::item);
                if kind == "response.output_item.done"
                    && let Some(item) = message.item.object::<Item<'_>>()
                {
                    self.item(&item, 0);
                }
                self.items(message.outputs, "tool.execution\"", Self::connector);
                if kind == "tool.execution.done" {
                    self.connector(&Item { called: message.called, id: message.id, ..Item::default() }, 0);
                }
                self.choices(message.choices);
                // z.ai's answer lists the pages that its search found.
                if message.web_search.first().is_some() {
                    self.used(Tool::Web, None, 0);
                }
            }
            Family::Anthropic | Family::Converse => {
                self.items(message.content, "\"server_tool_use\"", Self::block);
                if let Some(block) = message.content_block.object::<Item<'_>>() {
                    self.block(&block, 0);
                }
            }
            Family::Gemini if answers.has_sources => self.grounding(message.candidates),
            _ => {}
        }
    }

    /// Calls `look` with each item of a list, and its position. Lists without the text `mark` are not read.
    fn items(&mut self, list: Json<'_>, mark: &str, look: impl Fn(&mut Self, &Item<'_>, u64)) {
        if !list.contains(mark) {
            return;
        }
        let mut position = 0;
        list.each(|item: Item<'_>| {
            look(self, &item, position);
            position += 1;
        });
    }

    /// Notes one use. A use without an id is known by its position in the list.
    fn used(&mut self, tool: Tool, id: Option<&str>, position: u64) {
        if self.uses.len() < MAX_USES {
            self.uses.insert((tool, id.map_or(position, hash)));
        }
    }

    /// An item of an OpenAI response.
    fn item(&mut self, item: &Item<'_>, position: u64) {
        if item.status.text().is_some_and(|status| status == "failed") {
            return;
        }
        let (id, kind) = (item.id.text(), item.r#type.text());
        let tool = match kind.as_deref() {
            Some("web_search_call") => {
                // Opening a page, or searching in it, is not billed.
                let action = item.action.object().and_then(|action: Item<'_>| action.r#type.text());
                if action.is_some_and(|action| action != "search") {
                    return;
                }
                Tool::Web
            }
            Some("x_search_call") => Tool::Social,
            Some("file_search_call") => Tool::Storage,
            Some("image_generation_call") => Tool::Image,
            // A container is billed once, however often it is used.
            Some("code_interpreter_call") => {
                return self.used(Tool::Code, item.container_id.text().or(id).as_deref(), position);
            }
            Some("shell_call") => {
                let Some(place) = item.environment.object::<Item<'_>>() else { return };
                if let Some(container) = place.container_id.text() {
                    self.used(Tool::Code, Some(&container), position);
                }
                return;
            }
            _ => return,
        };
        self.used(tool, id.as_deref(), position);
    }

    /// A tool that Mistral ran in a conversation.
    fn connector(&mut self, item: &Item<'_>, position: u64) {
        let tool = match item.called.text().as_deref() {
            Some("web_search" | "web_search_premium") => Tool::Web,
            Some("code_interpreter") => Tool::Code,
            Some("document_library") => Tool::Storage,
            Some("image_generation") => Tool::Image,
            _ => return,
        };
        self.used(tool, item.id.text().as_deref(), position);
    }

    /// A block of an answer of Anthropic, or of Nova through Bedrock.
    fn block(&mut self, item: &Item<'_>, position: u64) {
        if item.r#type.text().is_none_or(|kind| kind != "server_tool_use") {
            return;
        }
        let tool = match item.called.text().as_deref() {
            Some("web_search" | "nova_grounding") => Tool::Web,
            Some("nova_code_interpreter") => Tool::Code,
            Some(name) if name.ends_with("code_execution") => Tool::Code,
            _ => return,
        };
        self.used(tool, item.id.text().as_deref(), position);
    }

    /// Groq's compound systems list the tools they ran. Moonshot's search is a function that Moonshot runs itself.
    fn choices(&mut self, choices: Json<'_>) {
        if !choices.contains("executed_tools\"") && !choices.contains("\"$web_search\"") {
            return;
        }
        let mut position = 0;
        choices.each(|choice: Item<'_>| {
            let Some(answer) = choice.message.or(choice.delta).object::<Item<'_>>() else { return };
            answer.executed_tools.each(|tool: Item<'_>| {
                position += 1;
                match tool.r#type.text().as_deref() {
                    Some("search" | "web_search" | "browser_search" | "browser.search") => {
                        self.used(Tool::Web, None, position);
                    }
                    Some("python" | "code_execution" | "code_interpreter") => self.used(Tool::Code, None, position),
                    _ => {}
                }
            });
            answer.tool_calls.each(|call: Item<'_>| {
                position += 1;
                let name = call.function.object().and_then(|function: Item<'_>| function.called.text());
                if name.is_some_and(|name| name == "$web_search") {
                    self.used(Tool::Web, call.id.text().as_deref(), position);
                }
            });
        });
    }

    /// The sources of Gemini's answers.
    fn grounding(&mut self, candidates: Json<'_>) {
        candidates.each(|candidate: Answer<'_>| {
            let Some(grounding) = candidate.grounding.object::<Item<'_>>() else { return };
            grounding.web_queries.each_text(|query| {
                if self.queries.len() < MAX_USES && !query.trim().is_empty() {
                    self.queries.insert(hash(query));
                }
            });
            grounding.grounding_chunks.each(|chunk: Item<'_>| {
                self.has_maps |= chunk.maps.is_some();
                self.has_documents |= chunk.retrieved.is_some();
            });
        });
    }

    /// Adds the counts to the usage, if the usage report has none. `has_parts` if it has the usage of other models.
    pub(super) fn add_to(
        &self,
        usage: &mut Usage,
        family: Family,
        dialect: Dialect,
        model: Option<&str>,
        has_parts: bool,
    ) {
        let is_google = matches!(dialect, Dialect::Gemini | Dialect::Vertex);
        let is_by_prompt = is_google && model.is_some_and(is_billed_by_prompt);
        let queries = self.queries.len() as u64;
        // These models search the web for every request.
        let always = family == Family::OpenAi
            && model.is_some_and(|model| model.contains("-search-preview") || model.contains("-search-api"));
        let uses = |tool: Tool| self.uses.iter().filter(|(used, _)| *used == tool).count() as u64;
        for (unit, count) in [
            (WEB, uses(Tool::Web).max(queries).max(u64::from(always))),
            (SOCIAL, uses(Tool::Social)),
            (STORAGE, uses(Tool::Storage).max(u64::from(self.has_documents && dialect == Dialect::Vertex))),
            (CODE, uses(Tool::Code)),
            (MAPS, u64::from(self.has_maps)),
            // The tokens of the images are a part of their own.
            (IMAGES, if has_parts { 0 } else { uses(Tool::Image) }),
        ] {
            if count > 0 && usage.present() & unit.bit() == 0 {
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
