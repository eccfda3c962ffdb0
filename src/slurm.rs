//! Runs on a cluster: handed to Slurm, and what became of them.
//!
//! In: experiments and a results folder that all nodes have. Out: `submit` leaves scripts and plans in the results folder
//! (`folder`, `script`) and an array of jobs in the queue (`client`, `indices`); `status` says how far each run is, by what the runs
//! left in the results folder and their jobs in their logs (`log`), and by the queue (`queue`). A job is one `tunelab run`. The
//! signal before its time limit makes a checkpoint, and the script queues the job again.

mod client;
mod folder;
mod indices;
mod log;
mod queue;
mod script;
mod state;
mod status;
mod submit;

pub use status::status;
pub use submit::submit;
