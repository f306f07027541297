//! The billable units: one vocabulary for usage, rates and reports.
//!
//! Names, denominators and dimensions are those of the `genai-prices` data set (its `data_units` table), so that the rates of the
//! catalog and the counts of an event use the same names. A unit is part of another if it has all of the other's dimensions:
//! `cache_read_tokens` is part of `input_tokens`, the total. A Python test compares this table with the package.
//! The last three units are our own, because the data set has no unit for images that are billed per image and for searches of maps.
//!
//! The position of a unit in the table is its number in the journal: append new units, never reorder them.

/// Name, how many of the unit one catalog rate is for, and the dimensions: the family, then `key=value` pairs.
#[rustfmt::skip]
const TABLE: [(&str, u64, &str); UNIT_COUNT] = [
    ("input_tokens", 1_000_000, "tokens direction=input"),
    ("output_tokens", 1_000_000, "tokens direction=output"),
    ("cache_read_tokens", 1_000_000, "tokens direction=input token_type=cache_read"),
    ("cache_write_tokens", 1_000_000, "tokens direction=input token_type=cache_write"),
    ("cache_write_5m_tokens", 1_000_000, "tokens direction=input token_type=cache_write cache_ttl=5m"),
    ("cache_write_1h_tokens", 1_000_000, "tokens direction=input token_type=cache_write cache_ttl=1h"),
    ("input_text_tokens", 1_000_000, "tokens direction=input modality=text"),
    ("output_text_tokens", 1_000_000, "tokens direction=output modality=text"),
    ("cache_text_read_tokens", 1_000_000, "tokens direction=input modality=text token_type=cache_read"),
    ("cache_text_write_tokens", 1_000_000, "tokens direction=input modality=text token_type=cache_write"),
    ("cache_text_write_5m_tokens", 1_000_000, "tokens direction=input modality=text token_type=cache_write cache_ttl=5m"),
    ("cache_text_write_1h_tokens", 1_000_000, "tokens direction=input modality=text token_type=cache_write cache_ttl=1h"),
    ("input_audio_tokens", 1_000_000, "tokens direction=input modality=audio"),
    ("output_audio_tokens", 1_000_000, "tokens direction=output modality=audio"),
    ("cache_audio_read_tokens", 1_000_000, "tokens direction=input modality=audio token_type=cache_read"),
    ("cache_audio_write_tokens", 1_000_000, "tokens direction=input modality=audio token_type=cache_write"),
    ("cache_audio_write_5m_tokens", 1_000_000, "tokens direction=input modality=audio token_type=cache_write cache_ttl=5m"),
    ("cache_audio_write_1h_tokens", 1_000_000, "tokens direction=input modality=audio token_type=cache_write cache_ttl=1h"),
    ("input_image_tokens", 1_000_000, "tokens direction=input modality=image"),
    ("output_image_tokens", 1_000_000, "tokens direction=output modality=image"),
    ("cache_image_read_tokens", 1_000_000, "tokens direction=input modality=image token_type=cache_read"),
    ("cache_image_write_tokens", 1_000_000, "tokens direction=input modality=image token_type=cache_write"),
    ("cache_image_write_5m_tokens", 1_000_000, "tokens direction=input modality=image token_type=cache_write cache_ttl=5m"),
    ("cache_image_write_1h_tokens", 1_000_000, "tokens direction=input modality=image token_type=cache_write cache_ttl=1h"),
    ("input_video_tokens", 1_000_000, "tokens direction=input modality=video"),
    ("output_video_tokens", 1_000_000, "tokens direction=output modality=video"),
    ("cache_video_read_tokens", 1_000_000, "tokens direction=input modality=video token_type=cache_read"),
    ("cache_video_write_tokens", 1_000_000, "tokens direction=input modality=video token_type=cache_write"),
    ("cache_video_write_5m_tokens", 1_000_000, "tokens direction=input modality=video token_type=cache_write cache_ttl=5m"),
    ("cache_video_write_1h_tokens", 1_000_000, "tokens direction=input modality=video token_type=cache_write cache_ttl=1h"),
    ("input_tool_tokens", 1_000_000, "tokens direction=input token_type=tool"),
    ("input_text_tool_tokens", 1_000_000, "tokens direction=input modality=text token_type=tool"),
    ("input_audio_tool_tokens", 1_000_000, "tokens direction=input modality=audio token_type=tool"),
    ("input_image_tool_tokens", 1_000_000, "tokens direction=input modality=image token_type=tool"),
    ("input_video_tool_tokens", 1_000_000, "tokens direction=input modality=video token_type=tool"),
    ("output_reasoning_tokens", 1_000_000, "tokens direction=output token_type=reasoning"),
    ("output_text_reasoning_tokens", 1_000_000, "tokens direction=output modality=text token_type=reasoning"),
    ("output_audio_reasoning_tokens", 1_000_000, "tokens direction=output modality=audio token_type=reasoning"),
    ("output_image_reasoning_tokens", 1_000_000, "tokens direction=output modality=image token_type=reasoning"),
    ("output_video_reasoning_tokens", 1_000_000, "tokens direction=output modality=video token_type=reasoning"),
    ("output_citation_tokens", 1_000_000, "tokens direction=output token_type=citation"),
    ("output_text_citation_tokens", 1_000_000, "tokens direction=output modality=text token_type=citation"),
    ("output_audio_citation_tokens", 1_000_000, "tokens direction=output modality=audio token_type=citation"),
    ("output_image_citation_tokens", 1_000_000, "tokens direction=output modality=image token_type=citation"),
    ("output_video_citation_tokens", 1_000_000, "tokens direction=output modality=video token_type=citation"),
    ("input_characters", 1_000_000, "characters direction=input"),
    ("input_text_messages", 1_000, "messages direction=input modality=text"),
    ("audio_seconds", 3_600, "durations modality=audio"),
    ("input_audio_seconds", 3_600, "durations direction=input modality=audio"),
    ("output_audio_seconds", 3_600, "durations direction=output modality=audio"),
    ("input_pixels", 1_000_000_000, "pixels direction=input"),
    ("input_document_pages", 1_000, "document_pages direction=input"),
    ("input_annotated_document_pages", 1_000, "document_pages direction=input page_type=annotated"),
    ("rerank_searches", 1_000, "rerank"),
    ("web_searches", 1_000, "tool_calls tool_type=web_search"),
    ("social_searches", 1_000, "tool_calls tool_type=social_search"),
    ("storage_searches", 1_000, "tool_calls tool_type=storage_search"),
    ("code_executions", 1_000, "tool_calls tool_type=code_execution"),
    ("requests", 1_000, "requests"),
    ("input_images", 1_000, "images direction=input"),
    ("output_images", 1_000, "images direction=output"),
    ("map_searches", 1_000, "tool_calls tool_type=map_search"),
];

/// How many units there are. At most 64, so that a set of units is one `u64`.
pub const UNIT_COUNT: usize = 62;
const _: () = assert!(UNIT_COUNT <= 64);

/// Seconds are stored as microseconds, because providers report fractions of them.
const MICROSECONDS: u64 = 1_000_000;

const SCALES: [u64; UNIT_COUNT] = {
    let mut scales = [1; UNIT_COUNT];
    let mut index = 0;
    while index < UNIT_COUNT {
        // Only the family `durations` begins with these letters.
        if let [b'd', b'u', b'r', ..] = TABLE[index].2.as_bytes() {
            scales[index] = MICROSECONDS;
        }
        index += 1;
    }
    scales
};

/// One billable unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Unit(u8);

impl Unit {
    /// All input tokens of a call, including cached and audio tokens.
    pub const INPUT_TOKENS: Self = Self(0);
    /// All billed output tokens of a call, including reasoning.
    pub const OUTPUT_TOKENS: Self = Self(1);
    /// Input tokens served from a prompt cache.
    pub const CACHE_READ_TOKENS: Self = Self(2);
    /// Input tokens written to a prompt cache of any lifetime.
    pub const CACHE_WRITE_TOKENS: Self = Self(3);
    /// Input tokens written to a cache that lives five minutes.
    pub const CACHE_WRITE_5M_TOKENS: Self = Self(4);
    /// Input tokens written to a cache that lives one hour.
    pub const CACHE_WRITE_1H_TOKENS: Self = Self(5);
    /// Output tokens spent on reasoning.
    pub const REASONING_TOKENS: Self = Self(35);
    /// Seconds of audio in both directions.
    pub const AUDIO_SECONDS: Self = Self(47);
    /// Seconds of input audio.
    pub const INPUT_AUDIO_SECONDS: Self = Self(48);
    /// The call itself, for providers that charge a fee per call.
    pub const REQUESTS: Self = Self(58);

    /// The unit with this number in the journal, if there is one.
    #[must_use]
    pub const fn from_index(index: u8) -> Option<Self> {
        if (index as usize) < UNIT_COUNT { Some(Self(index)) } else { None }
    }

    /// The unit with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().position(|row| row.0 == name).map(|index| Self(index as u8))
    }

    /// The unit with a name that is known at compile time. An unknown name is a compile error.
    #[must_use]
    pub(crate) const fn named(name: &'static str) -> Self {
        let mut index = 0;
        // An unknown name ends in an index out of bounds, which is an error in a constant.
        while !is_same(TABLE[index].0.as_bytes(), name.as_bytes()) {
            index += 1;
        }
        Self(index as u8)
    }

    /// Every unit, in journal order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..UNIT_COUNT as u8).map(Self)
    }

    /// The number of the unit in the journal.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The name of the unit, as in `usage` mappings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        TABLE[self.0 as usize].0
    }

    /// How many of the unit one catalog rate is for: 1,000,000 tokens, 1,000 searches, 3,600 seconds.
    #[must_use]
    pub const fn per(self) -> u64 {
        TABLE[self.0 as usize].1
    }

    /// How many stored counts make one of the unit: 1, or 1,000,000 for seconds.
    #[must_use]
    pub const fn scale(self) -> u64 {
        SCALES[self.0 as usize]
    }

    /// The family of the unit, then its `key=value` dimensions.
    pub fn dimensions(self) -> impl Iterator<Item = &'static str> {
        TABLE[self.index()].2.split(' ')
    }

    /// Whether the counts of `part` are included in those of this unit. A unit is not part of itself.
    #[must_use]
    pub fn contains(self, part: Self) -> bool {
        self != part && self.dimensions().all(|own| part.dimensions().any(|other| other == own))
    }

    /// The set of units that holds only this one.
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << self.0
    }
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut index = 0;
    while index < one.len() && index < other.len() && one[index] == other[index] {
        index += 1;
    }
    index == one.len() && index == other.len()
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_contains_its_parts_and_not_the_reverse() {
        assert!(Unit::INPUT_TOKENS.contains(Unit::CACHE_READ_TOKENS));
        assert!(Unit::CACHE_WRITE_TOKENS.contains(Unit::CACHE_WRITE_1H_TOKENS));
        assert!(!Unit::CACHE_READ_TOKENS.contains(Unit::INPUT_TOKENS));
        assert!(!Unit::INPUT_TOKENS.contains(Unit::OUTPUT_TOKENS));
    }

    #[test]
    fn the_constants_have_the_units_they_are_named_after() {
        assert_eq!(Unit::CACHE_WRITE_1H_TOKENS.name(), "cache_write_1h_tokens");
        assert_eq!(Unit::CACHE_WRITE_5M_TOKENS.name(), "cache_write_5m_tokens");
        assert_eq!(Unit::CACHE_WRITE_TOKENS.name(), "cache_write_tokens");
        assert_eq!(Unit::CACHE_READ_TOKENS.name(), "cache_read_tokens");
        assert_eq!(Unit::OUTPUT_TOKENS.name(), "output_tokens");
        assert_eq!(Unit::INPUT_TOKENS.name(), "input_tokens");
        assert_eq!(Unit::REASONING_TOKENS.name(), "output_reasoning_tokens");
        assert_eq!(Unit::AUDIO_SECONDS.name(), "audio_seconds");
        assert_eq!(Unit::INPUT_AUDIO_SECONDS.name(), "input_audio_seconds");
        assert_eq!(Unit::REQUESTS.name(), "requests");
    }

    #[test]
    fn only_seconds_are_stored_as_fractions() {
        for unit in Unit::all() {
            assert_eq!(unit.scale() == MICROSECONDS, unit.name().ends_with("_seconds"), "{unit}");
        }
    }

    #[test]
    fn every_unit_is_found_by_name_and_by_index() {
        for unit in Unit::all() {
            assert_eq!(Unit::from_name(unit.name()), Some(unit));
            assert_eq!(Unit::from_index(unit.index() as u8), Some(unit));
        }
    }
}
