//! A file that is read once, from its beginning to its end, and digested meanwhile.

use std::io::{self, BufRead, BufReader, Read};

use sha2::{Digest, Sha256};

/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// What a file was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDigest {
    /// SHA-256 of all of its bytes.
    pub sha256: String,
    /// How many bytes.
    pub bytes: u64,
}

/// A reader that knows which line it is in.
pub(super) struct Hashing<R> {
    file: BufReader<Counted<R>>,
    /// Lines that were taken out of the buffer.
    lines: u64,
}

struct Counted<R> {
    file: R,
    hasher: Sha256,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if let Some(read) = buffer.get(..count) {
            self.hasher.update(read);
        }
        self.bytes = self.bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }
}

impl<R: Read> Hashing<R> {
    pub(super) fn new(file: R) -> Self {
        let counted = Counted { file, hasher: Sha256::new(), bytes: 0 };
        Self { file: BufReader::with_capacity(BUFFER_BYTES, counted), lines: 0 }
    }

    /// Skips blanks; whether a document of JSON comes next, and nothing at the end.
    pub(super) fn begins_with_json(&mut self) -> io::Result<bool> {
        Ok(matches!(self.next_byte()?, Some(b'{' | b'[')))
    }

    /// The next byte that is no blank, left where it is.
    pub(super) fn next_byte(&mut self) -> io::Result<Option<u8>> {
        loop {
            let buffer = self.file.fill_buf()?;
            let Some(first) = buffer.first().copied() else { return Ok(None) };
            if !first.is_ascii_whitespace() {
                return Ok(Some(first));
            }
            self.skip();
        }
    }

    /// Takes one byte.
    pub(super) fn skip(&mut self) {
        if self.file.buffer().first() == Some(&b'\n') {
            self.lines = self.lines.saturating_add(1);
        }
        self.file.consume(1);
    }

    /// Line ends that were read so far.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// Reads what is left, and digests the whole.
    pub(super) fn digest(mut self) -> io::Result<FileDigest> {
        io::copy(&mut self.file, &mut io::sink())?;
        let Counted { hasher, bytes, .. } = self.file.into_inner();
        Ok(FileDigest { sha256: hex::encode(hasher.finalize()), bytes })
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        let read = buffer.get(..count).unwrap_or_default();
        let ends = read.split(|byte| *byte == b'\n').count().saturating_sub(1);
        self.lines = self.lines.saturating_add(u64::try_from(ends).unwrap_or(u64::MAX));
        Ok(count)
    }
}
