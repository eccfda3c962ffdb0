//! Ctrl-C, as a value that the loop asks between two steps.
//!
//! The first Ctrl-C asks the run to stop where nothing is lost; a second one ends the process at once with exit code 130.

use std::io::{self, Write};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};

/// Whether the user asked to stop. Clones share the answer; the default is a value that no key can reach, for tests.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Starts listening for Ctrl-C. All that are made in a process hear the same keys.
    ///
    /// Errors: something else listens already.
    pub fn install() -> Result<Self> {
        static LISTENING: Mutex<Option<Interrupt>> = Mutex::new(None);
        let mut listening = LISTENING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(interrupt) = &*listening {
            return Ok(interrupt.clone());
        }
        let interrupt = Self::default();
        let heard = interrupt.clone();
        ctrlc::set_handler(move || heard.press()).map_err(|e| Error::run("cannot listen for Ctrl-C").cause(e))?;
        *listening = Some(interrupt.clone());
        Ok(interrupt)
    }

    /// Did the user ask to stop?
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error with exit code 130 if the user asked to stop: `interrupt.check()?` between two steps.
    pub fn check(&self) -> Result<()> {
        if self.requested() { Err(Error::interrupted("interrupted")) } else { Ok(()) }
    }

    fn press(&self) {
        if self.0.swap(true, Ordering::Relaxed) {
            process::exit(130);
        }
        // stderr may be closed, which is no reason to fail.
        let _ = writeln!(io::stderr(), "\nstopping after this step; press Ctrl-C again to stop at once");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_press_is_remembered_by_every_clone() {
        let interrupt = Interrupt::default();
        let asked_by_the_loop = interrupt.clone();
        assert!(asked_by_the_loop.check().is_ok());
        interrupt.press();
        assert!(asked_by_the_loop.requested());
        assert_eq!(asked_by_the_loop.check().map_err(|e| e.exit_code()), Err(130));
    }
}
