//! A signal that asks to stop, as a value that the loop asks between two steps.
//!
//! In: Ctrl-C (SIGINT), SIGTERM (`kill`, docker stop, batch systems, systemd), SIGUSR1 (batch systems
//! before a time limit) and SIGHUP (a terminal that is closed). Out: the first one asks the run to stop where nothing is lost; a
//! second one ends the process at once. Either way the exit code is that of the signal. What was
//! ignored when the program began, as `nohup` leaves it to, stays ignored.

use std::io::{self, Write};
use std::process;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result, Stop};

/// How long after the first signal another is taken for the same request: who ends a whole group of
/// processes, such as `timeout` or a shell whose terminal is closed, often reaches each of them
/// twice.
const ECHO: Duration = Duration::from_secs(1);

/// Whether something asked to stop: the exit code of what did, or 0. Clones share the answer; the
/// default is a value that no signal can reach, for tests.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicU8>);

/// The process's listener, if it has one.
static LISTENING: Mutex<Option<Interrupt>> = Mutex::new(None);

impl Interrupt {
    /// Starts listening. All that are made in a process hear the same signals.
    ///
    /// Errors: something else listens already, or there is no room for another thread.
    pub fn install() -> Result<Self> {
        let mut listening = LISTENING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(interrupt) = &*listening {
            return Ok(interrupt.clone());
        }
        let interrupt = Self::default();
        let mut listener = Listener { interrupt: interrupt.clone(), first: None };
        let heard = move |by| tell(listener.hear(by, Instant::now()), by);
        system::listen(heard).map_err(|e| Error::run("cannot listen for Ctrl-C and signals").cause(e))?;
        *listening = Some(interrupt.clone());
        Ok(interrupt)
    }

    /// Asks to stop as the signal `by` would, unless something asked before.
    pub fn ask(&self, by: Stop) {
        // Whoever asked first is the reason.
        let _ = self.0.compare_exchange(0, by.exit_code(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// What asked to stop, if something did.
    pub fn requested(&self) -> Option<Stop> {
        let code = self.0.load(Ordering::Relaxed);
        Stop::ALL.into_iter().find(|stop| stop.exit_code() == code)
    }

    /// An error with the signal's exit code if something asked to stop: `interrupt.check()?`
    /// between two steps.
    pub fn check(&self) -> Result<()> {
        self.requested().map_or(Ok(()), |by| Err(Error::interrupted(by)))
    }
}

/// As [`Interrupt::check`], for whatever waits for others and is given no value to ask: a request
/// to a hub, a download.
pub fn check_process() -> Result<()> {
    LISTENING.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(Ok(()), Interrupt::check)
}

/// Asks this process to stop, as the signal `by` would, if it listens.
pub fn ask_process(by: Stop) {
    LISTENING.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|interrupt| interrupt.ask(by));
}

/// Hears the signals one by one.
#[derive(Debug)]
struct Listener {
    interrupt: Interrupt,
    /// When the first one came.
    first: Option<Instant>,
}

/// What a signal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// Stop where nothing is lost.
    First,
    /// The first one again.
    Echo,
    /// Stop at once.
    Second,
}

impl Listener {
    fn hear(&mut self, by: Stop, now: Instant) -> Heard {
        let Some(first) = self.first else {
            self.first = Some(now);
            self.interrupt.0.store(by.exit_code(), Ordering::Relaxed);
            return Heard::First;
        };
        // A person who presses Ctrl-C twice means it.
        if by != Stop::Interrupt && now.duration_since(first) < ECHO { Heard::Echo } else { Heard::Second }
    }
}

fn tell(heard: Heard, by: Stop) {
    let again = match by {
        Stop::Interrupt => "press Ctrl-C again",
        Stop::HangUp | Stop::Terminate | Stop::User => "a second signal is needed",
    };
    match heard {
        // stderr may be closed, which is no reason to fail.
        Heard::First => drop(writeln!(io::stderr(), "\nstopping where nothing is lost; {again} to stop at once")),
        Heard::Echo => {}
        Heard::Second => process::exit(i32::from(by.exit_code())),
    }
}

#[cfg(unix)]
mod system {
    use std::io::{self, IsTerminal};
    use std::thread;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
    use signal_hook::iterator::Signals;

    use crate::error::Stop;

    const SIGNALS: [(i32, Stop); 4] =
        [(SIGHUP, Stop::HangUp), (SIGINT, Stop::Interrupt), (SIGTERM, Stop::Terminate), (SIGUSR1, Stop::User)];

    /// Calls `heard` with each signal, in a thread of its own.
    pub fn listen(mut heard: impl FnMut(Stop) + Send + 'static) -> io::Result<()> {
        let ignored = ignored(&fs_err::read_to_string("/proc/self/status").unwrap_or_default());
        let is_ignored = |signal: i32| ignored.map_or_else(|| guess(signal), |mask| mask >> (signal - 1) & 1 == 1);
        let mut signals = Signals::new(SIGNALS.map(|(signal, _)| signal).into_iter().filter(|s| !is_ignored(*s)))?;
        let listen = move || {
            for signal in signals.forever() {
                SIGNALS.iter().filter(|(known, _)| *known == signal).for_each(|(_, stop)| heard(*stop));
            }
        };
        thread::Builder::new().name("signals".into()).spawn(listen).map(drop)
    }

    /// The signals that are ignored, a bit each, from what Linux says of a process.
    pub(super) fn ignored(status: &str) -> Option<u64> {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    }

    /// Elsewhere: under `nohup` the output is no terminal.
    fn guess(signal: i32) -> bool {
        signal == SIGHUP && !io::stdout().is_terminal()
    }
}

#[cfg(not(unix))]
mod system {
    use crate::error::Stop;

    /// Calls `heard` at each Ctrl-C.
    pub fn listen(mut heard: impl FnMut(Stop) + Send + 'static) -> Result<(), ctrlc::Error> {
        ctrlc::set_handler(move || heard(Stop::Interrupt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_is_remembered_by_every_clone_and_a_second_one_ends_at_once() {
        for (first, code) in [(Stop::HangUp, 129), (Stop::Interrupt, 130), (Stop::Terminate, 143), (Stop::User, 138)] {
            let interrupt = Interrupt::default();
            let asked_by_the_loop = interrupt.clone();
            assert!(asked_by_the_loop.check().is_ok());
            let mut listener = Listener { interrupt, first: None };
            let now = Instant::now();
            assert_eq!(listener.hear(first, now), Heard::First);
            assert_eq!(asked_by_the_loop.requested(), Some(first));
            assert_eq!(asked_by_the_loop.check().map_err(|e| e.exit_code()), Err(code));
            for second in Stop::ALL {
                assert_eq!(listener.hear(second, now + ECHO), Heard::Second);
            }
            assert_eq!(asked_by_the_loop.requested(), Some(first), "the first one is the reason");
        }
    }

    #[test]
    fn what_reaches_a_process_twice_is_one_request() {
        let mut listener = Listener { interrupt: Interrupt::default(), first: None };
        let now = Instant::now();
        assert_eq!(listener.hear(Stop::HangUp, now), Heard::First);
        assert_eq!(listener.hear(Stop::HangUp, now + ECHO / 2), Heard::Echo);
        assert_eq!(listener.hear(Stop::Terminate, now + ECHO / 2), Heard::Echo);
        assert_eq!(listener.hear(Stop::Interrupt, now + ECHO / 2), Heard::Second);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_ignored_is_read_from_the_systems_words() {
        let status =
            "Name:\ttunelab\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000004002\n";
        assert_eq!(system::ignored(status), Some(0x1001));
        assert_eq!(system::ignored("Name:\ttunelab\n"), None);
    }
}
