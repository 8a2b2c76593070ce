//! A window of the day, such as `16:30-00:30`.

use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const HOUR_MINUTES: u16 = 60;
const DAY_MINUTES: u16 = 24 * HOUR_MINUTES;

/// Why a text is no window of the day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no window of the day, accepted is a text such as 16:30-00:30 or 00:00-24:00")]
pub struct DayWindowError {
    /// The text.
    text: String,
}

/// A half-open window `[start, end)` of the wall clock, in whole minutes. One whose end is not
/// after its start runs over midnight. Written `16:30-00:30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DayWindow {
    /// First minute of the day inside, below 1440.
    start: u16,
    /// First minute of the day after, at most 1440; never `start`.
    end: u16,
}

impl DayWindow {
    /// Whether the window holds this minute of the day, counted from midnight.
    #[must_use]
    pub fn contains(self, minute: u32) -> bool {
        let (start, end) = (u32::from(self.start), u32::from(self.end));
        if start < end { start <= minute && minute < end } else { start <= minute || minute < end }
    }
}

impl FromStr for DayWindow {
    type Err = DayWindowError;

    fn from_str(text: &str) -> Result<Self, DayWindowError> {
        let minutes = |part: &str| {
            let (hour, minute) = part.split_once(':')?;
            let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            if !digits(hour) || !digits(minute) {
                return None;
            }
            let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            let in_day = hour.checked_mul(HOUR_MINUTES)?.checked_add(minute)?;
            (minute < HOUR_MINUTES && in_day <= DAY_MINUTES).then_some(in_day)
        };
        text.split_once('-')
            .and_then(|(start, end)| Some((minutes(start)?, minutes(end)?)))
            .filter(|(start, end)| *start < DAY_MINUTES && start != end)
            // `22:00-00:00` and `22:00-24:00` are one window and have one form.
            .map(|(start, end)| Self { start, end: if end == 0 { DAY_MINUTES } else { end } })
            .ok_or_else(|| DayWindowError { text: text.to_owned() })
    }
}

impl fmt::Display for DayWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = |minutes: u16| (minutes.div_euclid(HOUR_MINUTES), minutes % HOUR_MINUTES);
        let ((hour, minute), (end_hour, end_minute)) = (parts(self.start), parts(self.end));
        write!(f, "{hour:02}:{minute:02}-{end_hour:02}:{end_minute:02}")
    }
}

impl JsonSchema for DayWindow {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DayWindow".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^([01][0-9]|2[0-4]):[0-5][0-9]-([01][0-9]|2[0-4]):[0-5][0-9]$",
            "examples": ["16:30-00:30"],
        })
    }
}

impl Serialize for DayWindow {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DayWindow {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(text: &str) -> DayWindow {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_holds_its_first_minute_and_not_the_one_after_its_last() {
        let day = window("09:00-18:30");

        assert!(!day.contains(9 * 60 - 1) && day.contains(9 * 60));
        assert!(day.contains(18 * 60 + 29) && !day.contains(18 * 60 + 30));
    }

    #[test]
    fn a_window_whose_end_is_not_after_its_start_runs_over_midnight() {
        let night = window("16:30-00:30");

        assert!(night.contains(16 * 60 + 30) && night.contains(23 * 60 + 59));
        assert!(night.contains(0) && night.contains(29));
        assert!(!night.contains(30) && !night.contains(12 * 60));
    }

    #[test]
    fn midnight_as_an_end_has_one_form() {
        assert_eq!(window("22:00-00:00"), window("22:00-24:00"));
        assert_eq!(window("22:00-00:00").to_string(), "22:00-24:00");
        assert!((0..1440).all(|minute| window("00:00-24:00").contains(minute)));
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in [
            "",
            "9-18",
            "09:00",
            "9:00-18:00",
            "09:00-09:00",
            "24:00-01:00",
            "09:60-10:00",
            "09:00-24:01",
            "09:00 - 18:00",
            "+9:00-18:00",
        ] {
            assert!(text.parse::<DayWindow>().is_err(), "{text}");
        }
    }
}
