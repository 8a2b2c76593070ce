//! Fonts: which one has a character, and how wide it is.

use std::{cell::RefCell, collections::HashMap};

use krilla::text::{Font, GlyphId};
use skrifa::{
    FontRef, MetadataProvider,
    instance::{LocationRef, Size},
};

use crate::{DocumentError, Format};

/// A font as a file has it.
#[derive(Clone, PartialEq, Eq)]
pub struct FontFile {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its place in a collection; 0 where the file is one font.
    pub index: u32,
}

impl std::fmt::Debug for FontFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FontFile({} bytes, {})", self.bytes.len(), self.index)
    }
}

/// The fonts that pages may be set in. Each character takes the first one that has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fonts {
    /// For text.
    pub regular: Vec<FontFile>,
    /// For headings and sums; where none has a character, those for text.
    pub bold: Vec<FontFile>,
}

/// How a text is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    Regular,
    Bold,
}

/// A glyph of one of the faces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Glyph {
    pub(super) face: usize,
    pub(super) id: GlyphId,
    /// In ems.
    pub(super) advance: f32,
}

/// Fonts that are open.
pub(super) struct Faces {
    open: Vec<Face>,
    bold: Vec<usize>,
    regular: Vec<usize>,
    found: RefCell<HashMap<(char, bool), Option<Glyph>>>,
}

struct Face {
    bytes: std::sync::Arc<Vec<u8>>,
    index: u32,
    font: Font,
}

impl Faces {
    pub(super) fn open(fonts: &Fonts) -> Result<Self, DocumentError> {
        let mut faces = Vec::new();
        let mut open = |files: &[FontFile]| -> Vec<usize> {
            let mut places = Vec::new();
            for file in files {
                let bytes = std::sync::Arc::new(file.bytes.clone());
                let font = Font::new(std::sync::Arc::clone(&bytes).into(), file.index);
                if let Some(font) = font {
                    places.push(faces.len());
                    faces.push(Face { bytes, index: file.index, font });
                }
            }
            places
        };
        let regular = open(&fonts.regular);
        let mut bold = open(&fonts.bold);
        if regular.is_empty() {
            return Err(DocumentError::NoFont);
        }
        bold.extend(&regular);
        Ok(Self { open: faces, bold, regular, found: RefCell::default() })
    }

    pub(super) fn font(&self, place: usize) -> Option<Font> {
        self.open.get(place).map(|face| face.font.clone())
    }

    /// The glyph of a character; it is part of `text`, which an error names.
    pub(super) fn glyph(
        &self,
        character: char,
        weight: Weight,
        text: &str,
    ) -> Result<Glyph, DocumentError> {
        let is_bold = weight == Weight::Bold;
        let known = self.found.borrow().get(&(character, is_bold)).copied();
        let found = known.unwrap_or_else(|| {
            let found = self.look(character, weight);
            self.found.borrow_mut().insert((character, is_bold), found);
            found
        });
        found.ok_or_else(|| DocumentError::NoGlyph {
            character,
            text: text.to_owned(),
            package: if is_east_asian(character) { "fonts-noto-cjk" } else { "fonts-noto-core" },
        })
    }

    fn look(&self, character: char, weight: Weight) -> Option<Glyph> {
        let places = if weight == Weight::Bold { &self.bold } else { &self.regular };
        places.iter().find_map(|place| {
            let face = self.open.get(*place)?;
            let font = FontRef::from_index(&face.bytes, face.index).ok()?;
            let id = font.charmap().map(character).filter(|id| id.to_u32() != 0)?;
            let advance =
                font.glyph_metrics(Size::unscaled(), LocationRef::default()).advance_width(id)?;
            let units = face.font.units_per_em();
            Some(Glyph { face: *place, id: GlyphId::new(id.to_u32()), advance: advance / units })
        })
    }

    /// How wide a text on one line is.
    pub(super) fn width(
        &self,
        text: &str,
        size: f32,
        weight: Weight,
    ) -> Result<f32, DocumentError> {
        let mut width = 0.0;
        for character in text.chars() {
            width += self.glyph(character, weight, text)?.advance * size;
        }
        Ok(width)
    }
}

/// Whether a character stands for itself in lines without spaces.
pub(super) fn is_east_asian(character: char) -> bool {
    matches!(character,
        '\u{1100}'..='\u{11ff}' | '\u{2e80}'..='\u{30ff}' | '\u{3100}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe4f}'
        | '\u{ff00}'..='\u{ffef}' | '\u{20000}'..='\u{3ffff}')
}

/// Refuses a text in a script that needs more than glyph beside glyph.
///
/// Source: Unicode Standard, scripts with bidirectional class R or AL, and Indic and Southeast
/// Asian scripts whose glyphs are reordered.
pub(super) fn refuse_shaped(text: &str, document: &str) -> Result<(), DocumentError> {
    let is_shaped = |character: char| {
        matches!(character,
            '\u{0590}'..='\u{0dff}' | '\u{0f00}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
            | '\u{1a20}'..='\u{1cff}' | '\u{a840}'..='\u{abff}' | '\u{fb1d}'..='\u{fdff}'
            | '\u{fe70}'..='\u{fefe}' | '\u{10800}'..='\u{11fff}' | '\u{1e800}'..='\u{1efff}')
    };
    match text.chars().find(|character| is_shaped(*character)) {
        None => Ok(()),
        Some(character) => Err(DocumentError::NotExpressible {
            document: document.to_owned(),
            format: Format::Pdf,
            problem: format!(
                "`{text}` has `{character}`, of a script that is joined or runs from right to left"
            ),
            accepted: "other scripts, or the format html".to_owned(),
        }),
    }
}
