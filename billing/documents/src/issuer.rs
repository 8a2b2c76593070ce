//! Who issues documents, as the operator's configuration says it. It is the same on all of them.

/// What is accepted where a form needs a name.
pub(crate) const NAME_ACCEPTED: &str = "`issuer.name` set in the configuration";

/// Who issues documents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Issuer {
    /// The legal name; formats that need one are refused without it.
    pub name: Option<String>,
    /// The address, in lines.
    pub address: Vec<String>,
    /// The country of the address, an ISO 3166-1 alpha-2 code.
    pub country: Option<String>,
    /// The tax id.
    pub tax_id: Option<String>,
    /// The number in a register of companies.
    pub registration: Option<String>,
    /// Where questions go.
    pub email: Option<String>,
    /// How to pay, in lines, as people read it.
    pub payment: Vec<String>,
    /// The account that is paid to, for programs.
    pub iban: Option<String>,
    /// Days from issue until an invoice is due; absent where nothing is said of it.
    pub payment_days: Option<u32>,
    /// The picture at the head of documents.
    pub logo: Option<Logo>,
}

/// A picture at the head of documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logo {
    /// What it is.
    pub kind: LogoKind,
    /// The file.
    pub bytes: Vec<u8>,
}

/// What a picture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogoKind {
    /// A PNG file.
    Png,
    /// An SVG file.
    Svg,
}

impl Logo {
    /// The picture in `bytes`; `None` when they are neither PNG nor SVG.
    #[must_use]
    pub fn of(bytes: Vec<u8>) -> Option<Self> {
        const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
        if bytes.starts_with(PNG) {
            return Some(Self { kind: LogoKind::Png, bytes });
        }
        let is_svg = std::str::from_utf8(&bytes).is_ok_and(|text| text.contains("<svg"));
        is_svg.then_some(Self { kind: LogoKind::Svg, bytes })
    }

    /// Its media type.
    #[must_use]
    pub fn media_type(&self) -> &'static str {
        match self.kind {
            LogoKind::Png => "image/png",
            LogoKind::Svg => "image/svg+xml",
        }
    }
}
