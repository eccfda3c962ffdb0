//! What is logged for other programs: `[log]`.
//!
//! In: what the table says. Out: settings, whose keys are stated here.

use super::keys::{flag, settings};

settings! {
    /// Logs for other programs; nothing that is computed depends on them.
    pub struct Log {
        /// An event file for TensorBoard in the run's folder `tb/`, as `--tensorboard` asks for.
        tensorboard: bool = false => flag().quiet().metadata();
    }
}
