//! How many threads candle computes its own elementwise operations on.
//!
//! candle 0.11 hands each of them to a pool of its own, which serves one caller at a time and whose
//! threads spin while they wait. Where several threads call it at once, as in measuring images, they
//! wait for each other and compute against the spinning: a quarter of all time. On one thread each
//! caller computes for itself.

#![expect(unsafe_code, reason = "candle can be told so by its environment alone")]

use std::env;

/// candle reads it when it first needs its pool.
const VARIABLE: &str = "CANDLE_NUM_THREADS";

/// Lets each caller compute for itself, unless the environment says otherwise. Only a process with
/// one thread can be told so, at its beginning, and only on Linux is that known; whether it was told.
pub fn compute_in_the_callers_thread() -> bool {
    let is_alone = env::var_os(VARIABLE).is_none() && threads() == Some(1);
    if is_alone {
        // SAFETY: nobody reads the environment meanwhile, as this process has no other thread.
        unsafe { env::set_var(VARIABLE, "1") };
    }
    is_alone
}

/// The threads of this process, where the system tells.
#[cfg(target_os = "linux")]
fn threads() -> Option<usize> {
    #[expect(clippy::disallowed_methods, reason = "no path of a user's is read")]
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    Some(tasks.count())
}

#[cfg(not(target_os = "linux"))]
fn threads() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The variable was not there, and is not there afterwards: a test has the harness's thread beside it.
    #[test]
    fn among_other_threads_the_environment_stays_as_it_is() {
        let before = env::var_os(VARIABLE);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| std::thread::park_timeout(std::time::Duration::from_millis(200)));
            assert!(!compute_in_the_callers_thread());
            assert_eq!(env::var_os(VARIABLE), before);
            other.thread().unpark();
        });
    }
}
