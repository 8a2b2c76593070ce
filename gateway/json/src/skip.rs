//! Passing over a value, which has the form of JSON all the same.

use crate::{Invalid, Json, Kind, split, text};

impl<'b> Json<'b> {
    /// Passes over the value that comes next, whose bytes these are.
    ///
    /// # Errors
    /// It is none of JSON.
    pub fn skip(&mut self) -> Result<&'b [u8], Invalid> {
        let kind = self.kind()?;
        let start = self.rest;
        match kind {
            Kind::Text => self.skip_text()?,
            Kind::Scalar => self.skip_scalar()?,
            Kind::Object | Kind::List => self.skip_nested()?,
        }
        let length = start.len().saturating_sub(self.rest.len());
        start.get(..length).ok_or(Invalid)
    }

    fn skip_text(&mut self) -> Result<(), Invalid> {
        self.step();
        loop {
            let (_, behind) = split(self.rest, text::plain_end(self.rest))?;
            match behind {
                [b'"', behind @ ..] => {
                    self.rest = behind;
                    return Ok(());
                }
                [b'\\', b'u', digits @ ..] => (_, self.rest) = text::unit(digits)?,
                [b'\\', escape, behind @ ..] if b"\"\\/bfnrt".contains(escape) => {
                    self.rest = behind;
                }
                _ => return Err(Invalid),
            }
        }
    }

    fn skip_scalar(&mut self) -> Result<(), Invalid> {
        self.rest = match self.rest {
            [b'n', b'u', b'l', b'l', behind @ ..]
            | [b't', b'r', b'u', b'e', behind @ ..]
            | [b'f', b'a', b'l', b's', b'e', behind @ ..] => behind,
            number => behind_number(number)?,
        };
        Ok(())
    }

    fn skip_nested(&mut self) -> Result<(), Invalid> {
        let mut open = Brackets::default();
        loop {
            let kind = self.kind()?;
            match kind {
                Kind::Text => self.skip_text()?,
                Kind::Scalar => self.skip_scalar()?,
                Kind::Object | Kind::List => {
                    self.step();
                    open.push(kind == Kind::Object);
                }
            }
            let mut first = matches!(kind, Kind::Object | Kind::List);
            loop {
                let Some(is_object) = open.innermost() else { return Ok(()) };
                if self.goes_on(&mut first, if is_object { b'}' } else { b']' })? {
                    if is_object {
                        self.skip_key()?;
                    }
                    break;
                }
                open.pop();
            }
        }
    }

    fn skip_key(&mut self) -> Result<(), Invalid> {
        if self.next()? != b'"' {
            return Err(Invalid);
        }
        self.skip_text()?;
        self.colon()
    }
}

fn behind_number(number: &[u8]) -> Result<&[u8], Invalid> {
    let mut rest = match number.strip_prefix(b"-").unwrap_or(number) {
        [b'0', behind @ ..] => behind,
        whole => behind_digits(whole)?,
    };
    if let [b'.', fraction @ ..] = rest {
        rest = behind_digits(fraction)?;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let signed = exponent.strip_prefix(b"-").or_else(|| exponent.strip_prefix(b"+"));
        rest = behind_digits(signed.unwrap_or(exponent))?;
    }
    Ok(rest)
}

/// What is behind the digits that come next, of which there is one at least.
fn behind_digits(digits: &[u8]) -> Result<&[u8], Invalid> {
    let [b'0'..=b'9', rest @ ..] = digits else { return Err(Invalid) };
    let mut rest = rest;
    while let [b'0'..=b'9', behind @ ..] = rest {
        rest = behind;
    }
    Ok(rest)
}

/// Brackets that are open: whether each is an object's. 64 of them take no memory of their own.
#[derive(Debug, Default)]
struct Brackets {
    count: usize,
    /// The last ones, a bit each.
    last: u64,
    /// Those before, 64 each.
    before: Vec<u64>,
}

impl Brackets {
    fn innermost(&self) -> Option<bool> {
        (self.count > 0).then_some(self.last & 1 == 1)
    }

    fn push(&mut self, is_object: bool) {
        if self.count > 0 && self.count.is_multiple_of(64) {
            self.before.push(self.last);
        }
        self.last = self.last << 1 | u64::from(is_object);
        self.count = self.count.saturating_add(1);
    }

    fn pop(&mut self) {
        self.last >>= 1;
        self.count = self.count.saturating_sub(1);
        if self.count > 0 && self.count.is_multiple_of(64) {
            self.last = self.before.pop().unwrap_or_default();
        }
    }
}
