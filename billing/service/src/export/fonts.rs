//! Fonts for PDF: those that the configuration names, then the best known ones of the system.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use permille_documents::{FontFile, Fonts};

/// Where systems keep fonts.
const SYSTEM: [&str; 2] = ["/usr/share/fonts", "/usr/local/share/fonts"];
/// How deep folders are looked through, and how many entries at most: more than distributions have.
const DEPTH_MAX: usize = 6;
const ENTRIES_MAX: usize = 50_000;
/// Largest file, in bytes: the largest collections in use have 30 MiB.
const FONT_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Files for text and for headings with the place in them, best first: one family for Latin script
/// is taken and one for Chinese.
const LATIN: &[(&str, &str, u32)] = &[
    ("Inter-Regular.ttf", "Inter-Bold.ttf", 0),
    ("Inter-Regular.otf", "Inter-Bold.otf", 0),
    ("NotoSans-Regular.ttf", "NotoSans-Bold.ttf", 0),
    ("LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf", 0),
    ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", 0),
];
/// The third font of the collections of Noto is that for simplified Chinese.
const CHINESE: &[(&str, &str, u32)] = &[
    ("NotoSansCJK-Regular.ttc", "NotoSansCJK-Bold.ttc", 2),
    ("NotoSansCJKsc-Regular.otf", "NotoSansCJKsc-Bold.otf", 0),
    ("SourceHanSansSC-Regular.otf", "SourceHanSansSC-Bold.otf", 0),
    ("wqy-microhei.ttc", "wqy-microhei.ttc", 0),
    ("wqy-zenhei.ttc", "wqy-zenhei.ttc", 0),
    ("DroidSansFallbackFull.ttf", "DroidSansFallbackFull.ttf", 0),
];

/// A font that the configuration names cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the font `{path}`: {cause}", path = path.display())]
pub(super) struct FontsError {
    path: PathBuf,
    #[source]
    cause: io::Error,
}

/// The fonts of `given` files and folders, then those of the system.
pub(super) fn find(given: &[PathBuf]) -> Result<Fonts, FontsError> {
    let mut fonts = Fonts::default();
    let mut found = BTreeMap::new();
    for path in given {
        let failed = |cause| FontsError { path: path.clone(), cause };
        if path.metadata().map_err(failed)?.is_dir() {
            look_through(path, &mut found);
        } else {
            let is_bold = path.to_string_lossy().contains("Bold");
            let list = if is_bold { &mut fonts.bold } else { &mut fonts.regular };
            list.push(read(path, 0)?);
        }
    }
    for folder in SYSTEM {
        look_through(Path::new(folder), &mut found);
    }
    for families in [LATIN, CHINESE] {
        let family = families.iter().find(|(regular, ..)| found.contains_key(*regular));
        let Some((regular, bold, index)) = family else { continue };
        for (name, list) in [(regular, &mut fonts.regular), (bold, &mut fonts.bold)] {
            if let Some(path) = found.get(*name) {
                list.push(read(path, *index)?);
            }
        }
    }
    Ok(fonts)
}

/// Notes every file by its name; the first one of a name counts. A folder that cannot be read has
/// none.
fn look_through(folder: &Path, found: &mut BTreeMap<String, PathBuf>) {
    let mut folders = vec![(folder.to_owned(), 0)];
    let mut entries = 0;
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            entries += 1;
            if entries > ENTRIES_MAX {
                return;
            }
            let path = entry.path();
            if path.is_dir() {
                if depth < DEPTH_MAX {
                    folders.push((path, depth + 1));
                }
            } else {
                found.entry(entry.file_name().to_string_lossy().into_owned()).or_insert(path);
            }
        }
    }
}

fn read(path: &Path, index: u32) -> Result<FontFile, FontsError> {
    let failed = |cause| FontsError { path: path.to_owned(), cause };
    if path.metadata().map_err(failed)?.len() > FONT_BYTES_MAX {
        return Err(failed(io::Error::other(format!("has more than {FONT_BYTES_MAX} bytes"))));
    }
    Ok(FontFile { bytes: std::fs::read(path).map_err(failed)?, index })
}
