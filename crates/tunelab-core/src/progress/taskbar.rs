//! Progress in a terminal's tab, title or taskbar: the control sequence OSC 9;4.
//!
//! In: the environment, and how far a run is. Out: whether the terminal knows the sequence, and the
//! sequence. `ConEmu` invented it; who else knows it is told as cargo tells it (its crate
//! `anstyle-progress`): terminals that do not know it may show it as a message.

/// What a terminal is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// Nothing any more.
    Nothing,
    /// Work in progress, in per cent.
    Percent(u8),
    /// Work that failed so far on its way.
    Failed(u8),
}

impl Shown {
    /// What is written to the terminal.
    pub fn sequence(self) -> String {
        let (state, percent) = match self {
            Self::Nothing => (0, 0),
            Self::Percent(percent) => (1, percent),
            Self::Failed(percent) => (2, percent),
        };
        format!("\x1b]9;4;{state};{percent}\x1b\\")
    }
}

/// Whether the terminal of this environment knows the sequence.
pub(super) fn is_known(variable: impl Fn(&str) -> Option<String>) -> bool {
    let is = |name: &str, values: &[&str]| variable(name).is_some_and(|value| values.contains(&value.as_str()));
    // iTerm2 says what it can, since 3.6.6 this too.
    variable("TERM_FEATURES").is_some_and(|features| has_feature(&features, "P"))
        || is("TERM_PROGRAM", &["WezTerm", "ghostty"])
        || variable("WT_SESSION").is_some()
        || is("ConEmuANSI", &["ON"])
        // Ptyxis, since 48.
        || variable("PTYXIS_VERSION").and_then(|v| v.split('.').next()?.parse::<u32>().ok()).is_some_and(|v| v >= 48)
}

/// Whether a list of features has one. They stand without anything between them, each a capital
/// letter, small letters, and a number: `T3LrMSc7UUw9Ts3BFGsSyHNoSxF`.
fn has_feature(features: &str, wanted: &str) -> bool {
    let ends = |at: &usize| features[*at..].starts_with(|c: char| !c.is_ascii_lowercase());
    features.match_indices(wanted).map(|(at, _)| at + wanted.len()).any(|end| end == features.len() || ends(&end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(set: &[(&str, &str)]) -> bool {
        is_known(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn sequences_are_those_of_conemu() {
        assert_eq!(Shown::Percent(31).sequence(), "\x1b]9;4;1;31\x1b\\");
        assert_eq!(Shown::Failed(31).sequence(), "\x1b]9;4;2;31\x1b\\");
        assert_eq!(Shown::Nothing.sequence(), "\x1b]9;4;0;0\x1b\\");
    }

    #[test]
    fn only_terminals_that_know_the_sequence_get_it() {
        for set in [
            ("TERM_PROGRAM", "WezTerm"),
            ("TERM_PROGRAM", "ghostty"),
            ("WT_SESSION", "0b5c…"),
            ("ConEmuANSI", "ON"),
            ("PTYXIS_VERSION", "48.1"),
            ("TERM_FEATURES", "T3LrMSc7UUw9Ts3BFGsSyHNoSxFP"),
            ("TERM_FEATURES", "T3PLr"),
        ] {
            assert!(known(&[set]), "{set:?}");
        }
        for set in [
            ("TERM_PROGRAM", "iTerm.app"),
            ("TERM_PROGRAM", "Apple_Terminal"),
            ("ConEmuANSI", "OFF"),
            ("PTYXIS_VERSION", "47.9"),
            ("PTYXIS_VERSION", "new"),
            ("TERM_FEATURES", "T3LrMSc7UUw9Ts3BFGsSyHNoSxF"),
            ("TERM_FEATURES", "T3PrLr"),
            ("TERM", "xterm-256color"),
        ] {
            assert!(!known(&[set]), "{set:?}");
        }
    }
}
