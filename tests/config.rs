//! What a person writes: keys, plans, variants, stand-ins, and what the README says of them.

mod init;
mod keys;
mod plan;
mod readme;
mod sources;
mod stand_in;
mod sweep;
mod variants;
