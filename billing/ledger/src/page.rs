//! Pages of a list: where the last one ended and how many rows this one may have.

use schemars::JsonSchema;
use serde::Serialize;

use crate::LedgerError;

/// Most rows of one page: what a client can hold and one read takes a few milliseconds for.
pub const PAGE_ROWS_MAX: u32 = 1_000;
/// Rows of a page when the caller does not say.
pub const PAGE_ROWS_DEFAULT: u32 = 100;

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    after: Option<String>,
    limit: u32,
}

impl Page {
    /// The page that follows cursor `after`, of at most `limit` rows.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] when `limit` is 0 or above [`PAGE_ROWS_MAX`].
    pub fn new(after: Option<String>, limit: Option<u32>) -> Result<Self, LedgerError> {
        let limit = limit.unwrap_or(PAGE_ROWS_DEFAULT);
        if (1..=PAGE_ROWS_MAX).contains(&limit) {
            Ok(Self { after, limit })
        } else {
            Err(LedgerError::invalid("limit", &limit, format!("1 to {PAGE_ROWS_MAX}")))
        }
    }

    /// The cursor as it was given out, for lists that are ordered by one id.
    pub(crate) fn after(&self) -> &str {
        self.after.as_deref().unwrap_or_default()
    }

    /// The cursor's parts, for lists that are ordered by several columns.
    pub(crate) fn after_parts<const N: usize>(&self) -> Result<Option<[&str; N]>, LedgerError> {
        let Some(cursor) = &self.after else { return Ok(None) };
        let parts: Vec<&str> = cursor.splitn(N, '/').collect();
        parts
            .try_into()
            .map(Some)
            .map_err(|_| LedgerError::invalid("cursor", cursor, "the `next_cursor` of a page"))
    }

    /// One row more than asked for: it tells whether another page follows.
    pub(crate) fn rows(&self) -> i64 {
        i64::from(self.limit).saturating_add(1)
    }
}

impl Page {
    /// The page of a list that was read as a whole because it is short by nature. `cursor` tells
    /// the items apart.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a cursor that is none of the list's.
    pub fn of<T>(
        &self,
        items: Vec<T>,
        cursor: impl Fn(&T) -> String,
    ) -> Result<Listing<T>, LedgerError> {
        let before = match &self.after {
            None => 0,
            Some(after) => items
                .iter()
                .position(|item| cursor(item) == *after)
                .map(|place| place.saturating_add(1))
                .ok_or_else(|| {
                    LedgerError::invalid("cursor", after, "the `next_cursor` of a page")
                })?,
        };
        let rest = items.into_iter().skip(before).collect();
        Ok(Listing::cut(self, rest, cursor))
    }
}

impl Default for Page {
    fn default() -> Self {
        Self { after: None, limit: PAGE_ROWS_DEFAULT }
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub struct Listing<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl<T> Listing<T> {
    /// Cuts `items`, read with [`Page::rows`], to the page.
    pub(crate) fn cut(page: &Page, mut items: Vec<T>, cursor: impl Fn(&T) -> String) -> Self {
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = if more { items.last().map(cursor) } else { None };
        Self { items, next_cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_knows_whether_another_follows() {
        let page = Page::new(None, Some(2)).unwrap();

        let full = Listing::cut(&page, vec![1, 2, 3], ToString::to_string);
        let last = Listing::cut(&page, vec![1, 2], ToString::to_string);

        assert_eq!((full.items, full.next_cursor.as_deref()), (vec![1, 2], Some("2")));
        assert_eq!((last.items, last.next_cursor), (vec![1, 2], None));
    }

    #[test]
    fn a_page_has_bounds() {
        assert!(Page::new(None, Some(0)).is_err());
        assert!(Page::new(None, Some(1_001)).is_err());
        assert!(Page::new(None, Some(1_000)).is_ok());
    }

    #[test]
    fn a_short_list_is_read_in_pages_too() {
        let items = || vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let page = |after: Option<&str>| Page::new(after.map(str::to_owned), Some(2)).unwrap();

        let first = page(None).of(items(), Clone::clone).unwrap();
        let last = page(first.next_cursor.as_deref()).of(items(), Clone::clone).unwrap();

        assert_eq!((first.items.concat(), first.next_cursor.as_deref()), ("ab".into(), Some("b")));
        assert_eq!((last.items.concat(), last.next_cursor), ("c".into(), None));
        assert!(page(Some("z")).of(items(), Clone::clone).is_err());
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let page = Page::new(Some("one".to_owned()), None).unwrap();

        assert!(page.after_parts::<2>().is_err());
    }
}
