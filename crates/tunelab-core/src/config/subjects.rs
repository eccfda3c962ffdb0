//! What belongs together in an epoch: each subject with its class, or all images with all class images.
//!
//! In: a plan. Out: its [`Group`]s, and how many items an epoch has once the images are counted.

use std::path::PathBuf;

use super::{DataPart, Objective, Plan};

/// Images, and the class images that stand beside them.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Which of [`super::Dataset::parts`] are trained on.
    pub parts: Vec<usize>,
    /// Where its class images come from; nothing without prior preservation.
    pub class: Vec<ClassPart>,
}

/// Where class images come from.
#[derive(Debug, Clone, PartialEq)]
pub enum ClassPart {
    /// The base model draws them with this prompt.
    Drawn(String),
    /// The user's own folder, and their prompt.
    Folder(PathBuf, String),
    /// One of [`super::Dataset::parts`].
    Part(usize),
}

impl Plan {
    /// The groups, at least one.
    pub fn groups(&self) -> Vec<Group> {
        let parts = self.dataset.parts();
        let indices = |prior: bool| (0..parts.len()).filter(|&i| parts[i].prior == prior).collect::<Vec<_>>();
        let Objective::DreamBooth(prior) = &self.objective else {
            return vec![Group { parts: indices(false), class: Vec::new() }];
        };
        let named = |name: &str| parts.iter().position(|part| part.name.as_deref() == Some(name));
        if !prior.subjects.is_empty() {
            let group = |subject: &super::Subject| {
                let class = match &subject.class_source {
                    Some(name) => named(name).map(ClassPart::Part),
                    None => Some(ClassPart::Drawn(subject.class_prompt.clone())),
                };
                Group { parts: named(&subject.source).into_iter().collect(), class: class.into_iter().collect() }
            };
            return prior.subjects.iter().map(group).collect();
        }
        let own = indices(true);
        let class = match &prior.class_path {
            Some(path) => vec![ClassPart::Folder(path.clone(), prior.class_prompt.clone())],
            None if own.is_empty() => vec![ClassPart::Drawn(prior.class_prompt.clone())],
            None => own.into_iter().map(ClassPart::Part).collect(),
        };
        vec![Group { parts: indices(false), class }]
    }

    /// The class images' sources, each once, in the order in which groups name them.
    pub fn class_parts(&self) -> Vec<ClassPart> {
        let mut all = Vec::new();
        for part in self.groups().into_iter().flat_map(|group| group.class) {
            if !all.contains(&part) {
                all.push(part);
            }
        }
        all
    }

    /// The prompts of class images that the base model draws, each once.
    pub fn drawn_class_prompts(&self) -> Vec<String> {
        let drawn = |part| if let ClassPart::Drawn(prompt) = part { Some(prompt) } else { None };
        self.class_parts().into_iter().filter_map(drawn).collect()
    }

    /// The prompts of class images, drawn or in a folder, each once.
    pub fn class_prompts(&self) -> Vec<String> {
        let prompt = |part| match part {
            ClassPart::Drawn(prompt) | ClassPart::Folder(_, prompt) => Some(prompt),
            ClassPart::Part(_) => None,
        };
        self.class_parts().into_iter().filter_map(prompt).collect()
    }

    /// Items of an epoch, where the images of each part and class part are counted: in each group as many as the longer of its two
    /// lists has, as in diffusers.
    pub fn epoch_len(
        &self,
        images: impl Fn(&DataPart) -> Option<usize>,
        class_images: impl Fn(&ClassPart) -> Option<usize>,
    ) -> Option<usize> {
        let parts = self.dataset.parts();
        let of_part = |i: &usize| Some(images(parts.get(*i)?)? * parts.get(*i)?.repeats);
        let one = |group: &Group| {
            let instances: usize = group.parts.iter().map(of_part).sum::<Option<usize>>()?;
            let class = |part: &ClassPart| if let ClassPart::Part(i) = part { of_part(i) } else { class_images(part) };
            Some(instances.max(group.class.iter().map(class).sum::<Option<usize>>()?))
        };
        self.groups().iter().map(one).sum()
    }
}
