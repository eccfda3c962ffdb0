//! One experiment under way: what every step of the recipe has at hand.
//!
//! In: a plan, its folder, a device. Out: the value whose methods the files of this room are.

use crate::assets::Reach;
use crate::config::Plan;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::results::{ElapsedSoFar, RunDir, reset_peak_rss};
use candle_core::Device;
use std::time::Instant;
use tunelab_ops::memory::release_cached;

/// One experiment under way.
pub(super) struct Experiment<'a> {
    pub(super) plan: &'a Plan,
    /// Why it is run, if it is a stand-in.
    pub(super) why: Option<&'a str>,
    pub(super) run: &'a RunDir,
    pub(super) device: &'a Device,
    pub(super) progress: &'a Progress,
    pub(super) interrupt: &'a Interrupt,
    pub(super) reach: &'a Reach,
    /// When this process took it up, and what earlier ones have spent on it.
    pub(super) begun: Instant,
    pub(super) spent: ElapsedSoFar,
}

impl<'a> Experiment<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        why: Option<&'a str>,
        run: &'a RunDir,
        device: &'a Device,
        progress: &'a Progress,
        interrupt: &'a Interrupt,
        reach: &'a Reach,
    ) -> Self {
        release_cached();
        reset_peak_rss();
        Self {
            plan,
            why,
            run,
            device,
            progress,
            interrupt,
            reach,
            begun: Instant::now(),
            spent: ElapsedSoFar::read(run),
        }
    }
}
