//! Times as the API writes them, and lengths of time as kubectl writes ages.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// A time as the API writes it.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// As in the column AGE of `kubectl get`: the longer, the coarser.
pub(super) fn age(time: SignedDuration) -> String {
    let (seconds, minutes, hours) = (time.as_secs(), time.as_mins(), time.as_hours());
    let (days, years) = (hours / 24, hours / 24 / 365);
    let two = |count: i64, unit: &str, rest: i64, smaller: &str| match rest {
        0 => format!("{count}{unit}"),
        rest => format!("{count}{unit}{rest}{smaller}"),
    };
    match hours {
        _ if seconds < -1 => "<invalid>".to_owned(),
        _ if seconds < 120 => format!("{}s", seconds.max(0)),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        ..3 => format!("{minutes}m"),
        3..8 => two(hours, "h", minutes % 60, "m"),
        8..48 => format!("{hours}h"),
        48..192 => two(days, "d", hours % 24, "h"),
        _ if years < 2 => format!("{days}d"),
        _ if years < 8 => two(years, "y", days % 365, "d"),
        _ => format!("{years}y"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_those_of_kubectl() {
        let (hour, day, year) = (3600, 86_400, 365 * 86_400);
        for (seconds, expected) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (5, "5s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * hour - 1, "179m"),
            (3 * hour, "3h"),
            (7500 + 2 * hour, "4h5m"),
            (47 * hour, "47h"),
            (2 * day, "2d"),
            (3 * day + hour, "3d1h"),
            (8 * day + hour, "8d"),
            (year, "365d"),
            (2 * year + 3 * day, "2y3d"),
            (9 * year, "9y"),
        ] {
            assert_eq!(age(SignedDuration::from_secs(seconds)), expected);
        }
    }
}
