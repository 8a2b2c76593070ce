//! Why there is no document.

use permille_rating::allocate::AllocateError;
use permille_types::MoneyError;

use crate::Format;

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The form cannot say what the document says, or needs something that is not there.
    #[error("{document} is not written as {format}: {problem}; accepted: {accepted}", format = format.as_str())]
    NotExpressible {
        /// Number of the document.
        document: String,
        /// The form.
        format: Format,
        /// What is in the way.
        problem: String,
        /// What would do.
        accepted: String,
    },
    /// No font that was found has a character of the text.
    #[error(
        "no font has `{character}` (U+{code:04X}) of `{text}`; accepted: a font that has it, such as \
         Debian's package {package}, in a folder of fonts or in `issuer.fonts`",
        code = u32::from(*character)
    )]
    NoGlyph {
        /// The character.
        character: char,
        /// The text that it stands in.
        text: String,
        /// A package of the distribution that brings such a font.
        package: &'static str,
    },
    /// There is no font at all.
    #[error(
        "no font was found; accepted: Debian's package fonts-dejavu-core or fonts-noto-cjk, or a \
         folder with fonts in `issuer.fonts`"
    )]
    NoFont,
    /// The picture of the issuer cannot be drawn.
    #[error("the logo cannot be drawn: {problem}; accepted: {accepted}")]
    Logo {
        /// What is wrong with it.
        problem: String,
        /// What would do.
        accepted: &'static str,
    },
    /// The usage that was read is not what the document bills.
    #[error(
        "line {line} of {document} bills {billed} and {found} was read: the usage changed while it \
         was read, export again"
    )]
    UsageChanged {
        /// Number of the document.
        document: String,
        /// Place of the line.
        line: usize,
        /// What the line bills.
        billed: u64,
        /// What was read.
        found: u64,
    },
    /// An amount has too many digits to be shared out.
    #[error("share out an amount of {document}")]
    Allocate {
        /// Number of the document.
        document: String,
        /// The cause.
        #[source]
        cause: AllocateError,
    },
    /// An exact cost has too many digits.
    #[error("compute a cost of {document}")]
    Amount {
        /// Number of the document.
        document: String,
        /// The cause.
        #[source]
        cause: MoneyError,
    },
    /// A table cannot be written.
    #[error("write a table")]
    Table(#[source] csv::Error),
    /// A page cannot be written.
    #[error("write a page")]
    Page(#[source] std::io::Error),
    /// A PDF cannot be written.
    #[error("write a PDF: {0}")]
    Pdf(String),
}
