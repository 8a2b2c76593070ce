//! Token quantities by class. Classes are disjoint and an open set (M2): a class that a reply
//! does not report is absent, never zero (M3).

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A quantity of tokens.
pub type TokenCount = u64;

/// One disjoint class of tokens: direction, modality, cache state, cache lifetime.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct TokenClass(Cow<'static, str>);

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        impl TokenClass {
            $($(#[$doc])* pub const $name: Self = Self(Cow::Borrowed($text));)+

            /// Every class known to this version, input classes first.
            pub const KNOWN: &'static [Self] = &[$(Self::$name),+];
        }
    };
}

classes! {
    /// Text input that was neither read from nor written to the provider's prompt cache.
    INPUT_UNCACHED = "input_uncached",
    /// Input read from the provider's prompt cache.
    CACHE_READ = "cache_read",
    /// Input read from a cache that the request asked for, where that has a price of its own.
    CACHE_READ_EXPLICIT = "cache_read_explicit",
    /// Input written to a cache that lives 5 minutes.
    CACHE_WRITE_5M = "cache_write_5m",
    /// Input written to a cache that lives 30 minutes.
    CACHE_WRITE_30M = "cache_write_30m",
    /// Input written to a cache that lives 1 hour.
    CACHE_WRITE_1H = "cache_write_1h",
    /// Input written to a cache that lives 12 hours.
    CACHE_WRITE_12H = "cache_write_12h",
    /// Input written to a cache whose lifetime the reply does not tell.
    CACHE_WRITE_OTHER = "cache_write_other",
    /// Audio input.
    AUDIO_IN = "audio_in",
    /// Image input.
    IMAGE_IN = "image_in",
    /// Video input.
    VIDEO_IN = "video_in",
    /// Visible text output.
    OUTPUT_TEXT = "output_text",
    /// Output spent on reasoning.
    REASONING = "reasoning",
    /// Audio output.
    AUDIO_OUT = "audio_out",
    /// Image output.
    IMAGE_OUT = "image_out",
}

impl TokenClass {
    /// A class by name, known or not.
    #[must_use]
    pub fn named(text: &str) -> Self {
        Self::KNOWN
            .iter()
            .find(|class| class.as_str() == text)
            .cloned()
            .unwrap_or_else(|| Self(Cow::Owned(text.to_owned())))
    }

    /// The class's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A billable quantity that is not a token.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unit {
    /// API requests.
    Requests,
    /// Seconds of audio.
    Seconds,
    /// Images.
    Images,
    /// Searches that a provider ran on its side.
    Searches,
    /// Characters of text.
    Characters,
}

impl Unit {
    /// The unit's name in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Seconds => "seconds",
            Self::Images => "images",
            Self::Searches => "searches",
            Self::Characters => "characters",
        }
    }
}

/// Units of one reply. An absent unit was not reported.
pub type UnitCounts = BTreeMap<Unit, u64>;
