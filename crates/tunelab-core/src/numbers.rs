//! Numbers as people read them.
//!
//! In: counts, bytes, seconds. Out: words, the same in messages, tables and reports; and the median of some.

use std::fmt::Display;

/// `859520964` → `859,520,964`.
pub fn grouped(number: impl Display) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    groups.join(",")
}

/// `1 step`, `500 steps`.
pub fn counted(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// `4.6 GB`, `3.2 MB`: decimal units, as download pages and disk vendors count.
pub fn bytes(number: u64) -> String {
    let number = number as f64;
    if number >= 1e8 { format!("{:.1} GB", number / 1e9) } else { format!("{:.1} MB", number / 1e6) }
}

/// `42 s`, `3 min 20 s` or `5 h 07 min`.
pub fn duration(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
    }
}

/// The same, but with a tenth where it is less than a minute: `42.0 s`.
pub fn duration_with_tenths(seconds: f64) -> String {
    if (seconds.round() as u64) < 60 { format!("{seconds:.1} s") } else { duration(seconds) }
}

/// The first of some names on a line, and how many more there are.
pub fn listed(names: &[impl AsRef<str>], most: usize) -> String {
    let shown = names.iter().take(most).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    if names.len() > most { format!("{shown} and {} more", names.len() - most) } else { shown }
}

/// The middle one of some values, or what is between the two in the middle.
///
/// # Panics
///
/// If there is none.
pub fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { f64::midpoint(sorted[middle - 1], sorted[middle]) } else { sorted[middle] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_and_nouns_counted() {
        assert_eq!(["7", "999", "1000", "859520964"].map(grouped), ["7", "999", "1,000", "859,520,964"]);
        assert_eq!([1, 0, 1500].map(|n| counted(n, "step")), ["1 step", "0 steps", "1,500 steps"]);
        assert_eq!([99_900_000, 100_000_000].map(bytes), ["99.9 MB", "0.1 GB"]);
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let seconds = [41.96, 59.6, 200.4, 7_499.0];
        assert_eq!(seconds.map(duration), ["42 s", "1 min 00 s", "3 min 20 s", "2 h 04 min"]);
        assert_eq!(seconds.map(duration_with_tenths), ["42.0 s", "1 min 00 s", "3 min 20 s", "2 h 04 min"]);
    }

    #[test]
    fn many_names_are_cut_short() {
        let names = ["a", "b", "c"];
        assert_eq!((listed(&names, 3), listed(&names, 2)), ("a, b, c".to_owned(), "a, b and 1 more".to_owned()));
        assert_eq!(listed(&[] as &[&str], 2), "");
    }

    #[test]
    fn the_median_is_between_two_where_there_are_two() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!((median(&[4.0, 1.0, 2.0, 8.0]) - 3.0).abs() < 1e-12);
    }
}
