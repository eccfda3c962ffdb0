//! What differs between the plan that a run's folder holds and the one that is asked for, and so
//! what is to be done again.
//!
//! In: the texts of two resolved plans. Out: the farthest-reaching difference.

use toml::Table;

/// The keys of `[eval]` that training does not see: they say what is drawn afterwards, and how.
const PICTURES: [&str; 8] =
    ["prompts", "negative_prompt", "images", "steps", "guidance_scale", "sampler", "seed", "compare_base"];

/// The farthest-reaching difference of two plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// None, but for line ends, which version control may change.
    Nothing,
    /// Only `[reference]` or `[stands_in_for]`: nothing that was computed.
    Words,
    /// Only what is drawn after training.
    Pictures,
    /// Something else.
    Training,
}

/// Compares the stored plan with the wanted one.
pub(super) fn change(stored: &str, wanted: &str) -> Change {
    if stored.trim_end().lines().eq(wanted.trim_end().lines()) {
        return Change::Nothing;
    }
    let (Ok(mut stored), Ok(mut wanted)) = (stored.parse::<Table>(), wanted.parse::<Table>()) else {
        return Change::Training;
    };
    for plan in [&mut stored, &mut wanted] {
        plan.remove("reference");
        plan.remove("stands_in_for");
    }
    if stored == wanted {
        return Change::Words;
    }
    for plan in [&mut stored, &mut wanted] {
        without_pictures(plan);
    }
    if stored == wanted { Change::Pictures } else { Change::Training }
}

fn without_pictures(plan: &mut Table) {
    if let Some(eval) = plan.get_mut("eval").and_then(toml::Value::as_table_mut) {
        eval.retain(|key, _| !PICTURES.contains(&key));
    }
}
