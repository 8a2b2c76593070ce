//! Lines of a text: broken at spaces, beside East Asian characters, or wherever it must be.

use crate::{
    DocumentError,
    pdf::fonts::{Faces, Weight, is_east_asian},
};

/// What never begins a line.
const CLOSING: &str = "，。、；：？！）】》」』”’,.;:?!)]}%";

/// The lines of `text`, none wider than `width` unless it is one character.
pub(super) fn wrap(
    faces: &Faces,
    text: &str,
    size: f32,
    weight: Weight,
    width: f32,
) -> Result<Vec<String>, DocumentError> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0.0;
    // Where the line may be broken: bytes of it that stay.
    let mut break_at: Option<usize> = None;
    for character in text.chars() {
        let advance = faces.glyph(character, weight, text)?.advance * size;
        if used + advance > width && !line.is_empty() {
            let kept = break_at.take().filter(|at| *at > 0).unwrap_or(line.len());
            let rest = line.split_off(kept.min(line.len()));
            lines.push(line.trim_end().to_owned());
            rest.trim_start().clone_into(&mut line);
            used = faces.width(&line, size, weight)?;
        }
        if character == ' ' && line.is_empty() && !lines.is_empty() {
            continue;
        }
        let before = line.chars().next_back();
        let is_beside = is_east_asian(character) || before.is_some_and(is_east_asian);
        let may_begin = !CLOSING.contains(character);
        if before == Some(' ') || (is_beside && may_begin && before.is_some()) {
            break_at = Some(line.len());
        }
        line.push(character);
        used += advance;
        // Not inside a date or a number.
        let is_in_word = before.is_some_and(|before| !before.is_ascii_digit());
        if matches!(character, '-' | '/' | '_') && is_in_word {
            break_at = Some(line.len());
        }
    }
    lines.push(line.trim_end().to_owned());
    Ok(lines)
}
