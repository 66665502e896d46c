//! Durations, sizes and numbers as text.

use std::time::Duration;

/// Formats a duration with its two largest units; below ten seconds, in tenths of a second.
pub fn duration(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        s @ 10..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

/// Formats a duration in microseconds, from 10 ms in milliseconds.
pub fn micros(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 10_000.0 {
        format!("{micros:.0} µs")
    } else {
        format!("{:.1} ms", micros / 1e3)
    }
}

/// Formats a number of bytes in decimal units.
pub fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        10_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}

/// Formats a number with three digits, and with an exponent outside 0.001 to 100,000.
pub fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.1e}"),
        size => {
            let decimals = (2 - size.log10().floor() as i32).max(0) as usize;
            let text = format!("{value:.decimals$}");
            if text.contains('.') {
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            } else {
                text
            }
        }
    }
}

/// Formats a count with its noun, which takes `s` in the plural, or `es` after `ch`.
pub fn count(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ if noun.ends_with("ch") => format!("{count} {noun}es"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_use_two_units() {
        let texts = [4.26, 12.0, 75.0, 7_380.0].map(|s| duration(Duration::from_secs_f64(s)));
        assert_eq!(texts, ["4.3 s", "12 s", "1 min 15 s", "2 h 3 min"]);
    }

    #[test]
    fn sizes_use_decimal_units() {
        let texts = [500, 1_100, 51_600, 354_500_000, 3_200_000_000].map(bytes);
        assert_eq!(texts, ["500 B", "1100 B", "51.6 kB", "354.5 MB", "3.2 GB"]);
    }

    #[test]
    fn numbers_have_three_digits() {
        let texts = [0.0, 0.5, 3.4567, 1e-4, 0.001, 12.0, 1234.5, 0.0314159].map(short);
        assert_eq!(
            texts,
            [
                "0", "0.5", "3.46", "1.0e-4", "0.001", "12", "1234", "0.0314"
            ]
        );
    }

    #[test]
    fn nouns_agree_with_their_count() {
        assert_eq!(
            [0, 1, 2].map(|n| count(n, "caption")),
            ["0 captions", "1 caption", "2 captions"]
        );
    }
}
