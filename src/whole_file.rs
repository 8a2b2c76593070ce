//! Files that are whole or not there, whenever whoever writes them is stopped.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use crate::error::CliError;

/// How an unfinished file is called: its own name with this behind it.
const PART: &str = ".part";

/// The name under which `path` is written until it is whole. Who was stopped leaves it there, and
/// the next one writes it anew.
pub(crate) fn part_of(path: &Path) -> PathBuf {
    let mut part = path.as_os_str().to_owned();
    part.push(PART);
    PathBuf::from(part)
}

/// Gives a file that was written as [`part_of`] its name. What it said before is replaced.
///
/// # Errors
/// [`CliError::WriteFile`].
pub(crate) fn keep(path: &Path) -> Result<(), CliError> {
    let failed = |cause| CliError::WriteFile { path: path.to_owned(), cause };
    std::fs::rename(part_of(path), path).map_err(failed)
}

/// Writes a file of this text; into what is there where that is none, such as `/dev/stdout`.
///
/// # Errors
/// [`CliError::WriteFile`].
pub(crate) fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |cause| CliError::WriteFile { path: path.to_owned(), cause };
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return std::fs::write(path, text).map_err(failed);
    }
    // A link stays one.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let part = part_of(path);
    let mut file = File::create(&part).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    keep(path)
}
