//! Decimals as bills write them. Sums and products are those of [`permille_rating::exact`].

use permille_rating::exact;
use rust_decimal::Decimal;

/// A number as JSON and CSV write it, also with an exponent, to its last digit. Absent where it is
/// none or has more digits than fit.
pub(crate) fn read(text: &str) -> Option<Decimal> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    // Zeros at the end say nothing, and OpenAI's exports write thirty decimal places.
    let mantissa = match mantissa.split_once('.') {
        Some((_, places)) if !places.is_empty() => mantissa.trim_end_matches('0'),
        _ => mantissa,
    };
    let mantissa = mantissa.trim_start_matches('+').trim_end_matches('.');
    let mantissa = Decimal::from_str_exact(mantissa).ok()?.normalize();
    let exponent = exponent.parse::<i32>().ok()?;
    let scale = i32::try_from(mantissa.scale()).ok()?.checked_sub(exponent)?;
    let (mantissa, scale) = if let Ok(scale) = u32::try_from(scale) {
        (mantissa.mantissa(), scale)
    } else {
        let power = 10_i128.checked_pow(scale.unsigned_abs())?;
        (mantissa.mantissa().checked_mul(power)?, 0)
    };
    Decimal::try_from_i128_with_scale(mantissa, scale).ok().map(|value| value.normalize())
}

/// The sum of what is known; absent where neither is, or it does not fit.
pub(crate) fn add_known(sum: &mut Option<Decimal>, more: Option<Decimal>) -> Option<()> {
    if let Some(more) = more {
        *sum = Some(exact::add(sum.unwrap_or_default(), more).ok()?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_to_its_last_digit_or_not_at_all() {
        for (text, value) in [
            ("0.06", "0.06"),
            ("6e-2", "0.06"),
            ("1.25E+2", "125"),
            ("0.060000000000000005", "0.060000000000000005"),
            ("-3.50", "-3.5"),
            ("0", "0"),
            ("100", "100"),
            ("0.003835980000000000000000000000", "0.00383598"),
            ("7.000000000000000000000000000000", "7"),
        ] {
            assert_eq!(read(text).unwrap().to_string(), value, "{text}");
        }
        for text in ["", "1,5", "true", "1e99", "0x1", "12345678901234567890123456789012"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
