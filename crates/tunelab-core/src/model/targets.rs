//! Which modules a LoRA stands beside.
//!
//! In: the targets that a person names, as PEFT has them. Out: whether a module's path is one of
//! them.

/// Modules for which kohya's sd-scripts have no LoRA and whose names stable-diffusion.cpp does not
/// know: both leave them out of a file that has one for them.
pub(super) const LEFT_OUT_ELSEWHERE: [&str; 4] =
    ["conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"];

/// Whether the module at `path` is meant by `target`: `path` is the target or ends in `.target`.
pub fn matches(path: &str, target: &str) -> bool {
    path.strip_suffix(target).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Whether the module at `path` is meant by any of `targets`.
pub fn contains<T: AsRef<str>>(targets: &[T], path: &str) -> bool {
    targets.iter().any(|target| matches(path, target.as_ref()))
}
