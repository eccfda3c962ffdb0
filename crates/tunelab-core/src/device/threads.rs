//! How many threads compute on the CPU.
//!
//! In: `RAYON_NUM_THREADS` and the number of cores. Out: a number of threads that the machine can
//! bear, and what is to be said where it is not the one that was asked for. No result depends on
//! it.

use std::ffi::OsStr;
use std::{env, thread};

/// The variable that asks for a number.
const VARIABLE: &str = "RAYON_NUM_THREADS";

/// Threads for each core at most: more of them only take memory and each other's time.
const MOST: usize = 4;

/// A number of threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threads {
    /// At least 1.
    pub count: usize,
    /// Why it is not the number that was asked for.
    pub warning: Option<String>,
}

impl Threads {
    /// As many as the environment asks for, or one for each core.
    pub fn from_env() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::new(env::var_os(VARIABLE).as_deref().unwrap_or_default(), cores)
    }

    /// Nothing and 0 ask for one for each core.
    fn new(asked: &OsStr, cores: usize) -> Self {
        let most = MOST * cores;
        let asked = asked.to_string_lossy();
        let asked = asked.trim();
        let (count, why) = match asked.parse::<usize>() {
            Ok(0) => (cores, None),
            Ok(count) if count <= most => (count, None),
            Err(_) if asked.is_empty() => (cores, None),
            Err(_) if asked.contains(|c: char| !c.is_ascii_digit()) => (cores, Some("no number of threads".to_owned())),
            _ => (most, Some(format!("more than {MOST} for each of the {cores} cores"))),
        };
        let threads = if count == 1 { "1 thread computes".to_owned() } else { format!("{count} threads compute") };
        Self { count, warning: why.map(|why| format!("{VARIABLE}={asked} is {why}: {threads}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_cannot_bear_or_nobody_can_read_is_said_and_not_done() {
        let of = |asked: &str, cores| {
            let Threads { count, warning } = Threads::new(OsStr::new(asked), cores);
            (count, warning.unwrap_or_default())
        };
        for (asked, count) in [("", 2), ("0", 2), ("1", 1), ("8", 8), (" 3 ", 3)] {
            assert_eq!(of(asked, 2), (count, String::new()), "{asked:?}");
        }
        let told = |words: &str| words.to_owned();
        assert_eq!(
            of("9", 2),
            (8, told("RAYON_NUM_THREADS=9 is more than 4 for each of the 2 cores: 8 threads compute"))
        );
        assert_eq!(of("1000000", 16).0, 64);
        assert_eq!(of("four", 1), (1, told("RAYON_NUM_THREADS=four is no number of threads: 1 thread computes")));
        assert_eq!(of("-1", 2).0, 2);
        assert_eq!(of("99999999999999999999999", 2).0, 8);
    }
}
