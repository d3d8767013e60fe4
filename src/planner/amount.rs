//! Amounts of resources: Kubernetes' quantities, as far as they have to be added and compared.

use std::cmp::Ordering;
use std::fmt;
use std::iter::Sum;
use std::ops::Mul;

use serde_json::Value;

/// Nano-units in one unit.
const UNIT: i128 = 1_000_000_000;
/// Decimal suffixes, each a thousand times the one before; the first is a nano-unit.
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
/// Binary suffixes, each 1024 times the one before; the first is a unit.
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// An amount. Two are equal that are written differently, such as 1Gi and 1024Mi.
#[derive(Clone, Copy, Debug, Default)]
pub struct Amount {
    nano: i128,
    /// Whether it is written with a binary suffix.
    binary: bool,
}

impl Amount {
    /// Reads a quantity. What is none, or too large to count, has no amount.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|letter: char| !matches!(letter, '0'..='9' | '.' | '+' | '-'));
        let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let (factor, binary) = factor(suffix)?;
        let nano = digits.checked_mul(factor)? / scale;
        Some(Self { nano, binary })
    }

    /// The whole units in it.
    #[must_use]
    pub fn whole(self) -> Option<i64> {
        i64::try_from(self.nano / UNIT).ok()
    }

    /// Reads a quantity as it stands in an object: a text, or a number.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        value
            .as_str()
            .map_or_else(|| Self::parse(&value.to_string()), Self::parse)
    }

    /// How many units of so many nano-units it is, rounded up.
    #[must_use]
    pub(crate) fn in_units_of(self, nano: i128) -> Option<i64> {
        let whole = self.nano.div_euclid(nano);
        let rest = i128::from(self.nano.rem_euclid(nano) > 0);
        i64::try_from(whole + rest).ok()
    }
}

/// Nano-units of a suffix, or of an exponent, and whether it is a binary one.
fn factor(suffix: &str) -> Option<(i128, bool)> {
    if let Some(power) = DECIMAL.iter().position(|known| *known == suffix) {
        return Some((1000_i128.pow(u32::try_from(power).ok()?), false));
    }
    if let Some(power) = BINARY.iter().position(|known| *known == suffix) {
        return Some((UNIT << (10 * power), true));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = u32::try_from(exponent.checked_add(9)?).ok()?;
    Some((10_i128.checked_pow(power)?, false))
}

impl PartialEq for Amount {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Amount {}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Amount {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

/// Written as the first of them is.
impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts
            .reduce(|sum, amount| Self {
                nano: sum.nano.saturating_add(amount.nano),
                ..sum
            })
            .unwrap_or_default()
    }
}

impl Mul<u32> for Amount {
    type Output = Self;

    fn mul(self, times: u32) -> Self {
        Self {
            nano: self.nano.saturating_mul(times.into()),
            ..self
        }
    }
}

/// With the largest suffix that leaves a whole number, as Kubernetes writes it.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        let (base, suffixes, mut number) = if self.binary && self.nano % UNIT == 0 {
            (1024, &BINARY[..], self.nano / UNIT)
        } else {
            (1000, &DECIMAL[..], self.nano)
        };
        let mut power = 0;
        while number % base == 0 && power + 1 < suffixes.len() {
            number /= base;
            power += 1;
        }
        write!(f, "{number}{}", suffixes[power])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_and_written_as_kubernetes_does() {
        for (text, expected) in [
            ("0", "0"),
            ("2", "2"),
            ("500m", "500m"),
            ("1.5", "1500m"),
            ("4000m", "4"),
            ("16Gi", "16Gi"),
            ("1024Mi", "1Gi"),
            ("0.5Gi", "512Mi"),
            ("16000000000", "16G"),
            ("1e3", "1k"),
            ("1E", "1E"),
            ("2Ei", "2Ei"),
            ("3n", "3n"),
        ] {
            let amount = Amount::parse(text).unwrap_or_else(|| unreachable!("{text} is a quantity"));
            assert_eq!(amount.to_string(), expected, "{text}");
            assert_eq!(Amount::parse(expected), Some(amount), "{text}");
        }
        for other in ["", "x", "1Zi", "1 Gi", "Gi", "1.2.3", "999999999999999999999E"] {
            assert_eq!(Amount::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn amounts_are_compared_by_what_they_are_and_not_by_how_they_are_written() {
        let amount = |text| Amount::parse(text).unwrap_or_else(|| unreachable!("{text} is a quantity"));
        assert!(amount("999m") < amount("1") && amount("1Gi") > amount("1G"));
        assert_eq!(amount("1024Mi").cmp(&amount("1Gi")), Ordering::Equal);
    }

    #[test]
    fn amounts_are_added_and_multiplied_in_the_notation_of_the_first() {
        let sum = |texts: &[&str]| texts.iter().filter_map(|text| Amount::parse(text)).sum::<Amount>();
        assert_eq!(sum(&["500m", "500m", "2"]).to_string(), "3");
        assert_eq!(sum(&["1Gi", "512Mi"]).to_string(), "1536Mi");
        assert_eq!((sum(&["4Gi"]) * 4).to_string(), "16Gi");
        assert_eq!((sum(&[]) * 4).to_string(), "0");
    }
}
