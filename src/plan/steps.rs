//! How many steps a plan takes.
//!
//! In: a plan, whose pictures may be on this machine. Out: optimizer steps, where they can be known, and a line that says them.

use super::local;
use super::shapes::Survey;
use crate::config::{ClassPart, Length, Objective, Plan};
use crate::numbers::counted;

/// Optimizer steps, where that is known before the pictures are here.
pub fn total_steps(plan: &Plan) -> Option<usize> {
    match plan.train.length {
        Length::Steps(steps) => Some(steps),
        Length::Epochs(_) => {
            let longest = epoch_len(plan)?;
            Some(
                batches(plan).map_or_else(|| plan.train.total_steps(longest), |n| plan.train.total_steps_of_batches(n)),
            )
        }
    }
}

/// Batches of an epoch, where there are buckets and the images are here.
fn batches(plan: &Plan) -> Option<usize> {
    let survey = plan.dataset.buckets.on.then(|| Survey::of(plan))??;
    let count = |part: &ClassPart| match part {
        ClassPart::Part(i) => local::pictures(&plan.dataset.parts().get(*i)?.source),
        other => Some(class_count(plan, other)),
    };
    Some(survey.batches(plan, &plan.class_parts().iter().map(count).collect::<Option<Vec<_>>>()?))
}

/// How many steps, in a line for a person.
pub(super) fn steps(plan: &Plan) -> String {
    let batch = counted(plan.train.batch_size * plan.train.gradient_accumulation, "picture");
    let beside = if matches!(plan.objective, Objective::DreamBooth(_)) { " and as many class images" } else { "" };
    match (plan.train.length, epoch_len(plan)) {
        (Length::Steps(steps), _) => format!("{} of {batch}{beside}", counted(steps, "step")),
        (Length::Epochs(epochs), Some(longest)) => {
            let pictures = plan.epoch_len(|part| local::pictures(&part.source), |_| Some(0));
            let steps = counted(total_steps(plan).unwrap_or_else(|| plan.train.total_steps(longest)), "step");
            let over = if pictures.is_some_and(|pictures| longest > pictures) { "class image" } else { "picture" };
            format!("{steps} of {batch}{beside}: {} over {}", counted(epochs, "epoch"), counted(longest, over))
        }
        (Length::Epochs(epochs), None) => {
            let epochs = counted(epochs, "epoch");
            format!("{epochs} in steps of {batch}{beside}; how many steps is known once the pictures are here")
        }
    }
}

/// What an epoch goes through, if all pictures are here.
fn epoch_len(plan: &Plan) -> Option<usize> {
    plan.epoch_len(|part| local::pictures(&part.source), |part| Some(class_count(plan, part)))
}

/// Class images in a folder, or drawn.
fn class_count(plan: &Plan, part: &ClassPart) -> usize {
    match (part, &plan.objective) {
        (ClassPart::Folder(path, _), _) => local::pictures_in(path).unwrap_or(0),
        (_, Objective::DreamBooth(dreambooth)) => dreambooth.class_images,
        (_, Objective::Captions) => 0,
    }
}
