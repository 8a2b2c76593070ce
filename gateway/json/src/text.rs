//! Where texts end, and what their escapes stand for.

use memchr::memchr2;

use crate::{Invalid, split};

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = ONES << 7;
const BACKSLASHES: u64 = ONES * 0x5C;

/// Bytes of a text that are looked at eight by eight before it is taken for a long one.
const SHORT_BYTES_MAX: usize = 32;

/// Where the first quote, backslash or control character is: up to there a text is as it stands.
#[inline]
pub(crate) fn plain_end(text: &[u8]) -> Option<usize> {
    let (mut rest, mut passed) = (text, 0_usize);
    while let Some((eight, behind)) = rest.split_first_chunk::<8>()
        && passed < SHORT_BYTES_MAX
    {
        let found = ends(u64::from_le_bytes(*eight));
        if found != 0 {
            return passed.checked_add(usize::try_from(found.trailing_zeros() / 8).ok()?);
        }
        (rest, passed) = (behind, passed.saturating_add(8));
    }
    passed.checked_add(plain_end_of_long(rest)?)
}

#[inline(never)]
fn plain_end_of_long(text: &[u8]) -> Option<usize> {
    let end = memchr2(b'"', b'\\', text)?;
    let plain = text.get(..end)?;
    let least = plain.iter().fold(u8::MAX, |least, byte| least.min(*byte));
    if least >= b' ' { Some(end) } else { plain.iter().position(|byte| *byte < b' ') }
}

/// The high bit of the first byte that is not plain, and maybe those of later ones.
#[inline]
fn ends(bytes: u64) -> u64 {
    // With this bit changed, a quote is the one character that comes next to those of control.
    let is_low = (bytes ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let is_backslash = (bytes ^ BACKSLASHES).wrapping_sub(ONES);
    (is_low | is_backslash) & !bytes & HIGH_BITS
}

/// Reads a text that begins with `plain`, from the first escape on, into `unescaped`: what is
/// behind it.
#[inline(never)]
pub(crate) fn unescape<'b>(
    plain: &[u8],
    mut behind: &'b [u8],
    unescaped: &mut Vec<u8>,
) -> Result<&'b [u8], Invalid> {
    unescaped.clear();
    unescaped.extend_from_slice(plain);
    loop {
        let character = match behind {
            [b'\\', b'u', digits @ ..] => {
                behind = unescape_unit(digits, unescaped)?;
                None
            }
            [b'\\', escape, rest @ ..] => {
                behind = rest;
                Some(match escape {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'b' => 8,
                    b'f' => 12,
                    b'"' | b'\\' | b'/' => *escape,
                    _ => return Err(Invalid),
                })
            }
            [b'"', rest @ ..] => return Ok(rest),
            _ => return Err(Invalid),
        };
        unescaped.extend(character);
        let (plain, rest) = split(behind, plain_end(behind))?;
        unescaped.extend_from_slice(plain);
        behind = rest;
    }
}

/// Adds the character of which `digits` are those of the first escape: what is behind it. Half a
/// character is written as a whole one of that number would be.
fn unescape_unit<'b>(digits: &'b [u8], text: &mut Vec<u8>) -> Result<&'b [u8], Invalid> {
    let (first, behind) = unit(digits)?;
    if let 0xD800..=0xDBFF = first
        && let [b'\\', b'u', digits @ ..] = behind
        && let (second @ 0xDC00..=0xDFFF, behind) = unit(digits)?
    {
        let low = u32::from(second & 0x3FF);
        let character = char::from_u32(0x1_0000 + (u32::from(first & 0x3FF) << 10 | low));
        let character = character.ok_or(Invalid)?;
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        return Ok(behind);
    }
    if let Some(character) = char::from_u32(u32::from(first)) {
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        let [high, low] = first.to_be_bytes();
        let middle = (high & 0x0F) << 2 | low >> 6;
        text.extend_from_slice(&[0xE0 | high >> 4, 0x80 | middle, 0x80 | low & 0x3F]);
    }
    Ok(behind)
}

/// The number that four hexadecimal digits are, and what is behind them.
pub(crate) fn unit(digits: &[u8]) -> Result<(u16, &[u8]), Invalid> {
    let (digits, behind) = split(digits, Some(4))?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'));
    let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()).ok_or(Invalid)?;
    Ok((unit, behind))
}
