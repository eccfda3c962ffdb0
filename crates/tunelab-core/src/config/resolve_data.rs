//! The rules between keys of what is trained on: captions, several sources, several subjects.
//!
//! In: the plan as it was read, and its sections for complaints. Out: the plan with names, prompts and what sources leave to `[dataset]`
//! filled in.

use super::experiment::{Section, similar};
use super::selection;
use super::{CaptionRules, DreamBooth, Objective, Plan};

/// Captions, sources and subjects, in this order: each needs what those before have filled in.
pub(super) fn data(root: &Section, plan: &mut Plan) {
    let dataset = root.section("dataset");
    let rules = plan.dataset.captions.clone();
    if let Some(prompt) = &mut plan.dataset.prompt {
        *prompt = rules.with_trigger(prompt);
        prompt_alone(&dataset.section("captions"), &rules);
    }
    selection::check(&dataset, &plan.dataset.selection);
    sources(&dataset, plan);
    let Plan { objective, dataset: data, .. } = plan;
    match objective {
        Objective::DreamBooth(prior) if !prior.subjects.is_empty() => {
            subjects(&root.section("adapter").section("dreambooth"), prior, data);
        }
        Objective::DreamBooth(prior) => {
            let own = data.sources.iter().any(|source| source.prior);
            one_class(&root.section("adapter").section("dreambooth"), prior, own);
            let class = Some(prior.class_prompt.clone()).filter(|prompt| !prompt.is_empty());
            for source in data.sources.iter_mut().filter(|source| source.prior && source.captions.is_none()) {
                source.prompt = source.prompt.take().or(class.clone());
            }
        }
        Objective::Captions => {
            for (s, source) in dataset.tables_of("sources").iter().zip(&data.sources).filter(|(_, source)| source.prior)
            {
                let name = &source.name;
                let message = format!("`prior`: “{name}” would be class images, and without DreamBooth there are none");
                s.reject("prior", message, "leave it out, and say what its loss counts with `weight`");
            }
        }
    }
    if let Objective::DreamBooth(_) = objective {
        needs_prompts(&dataset, data);
    }
    // What is drawn for evaluation unless it is said.
    if !root.section("eval").has("prompts") {
        let prompts = data.parts().into_iter().filter(|part| !part.prior).filter_map(|part| part.prompt);
        plan.eval.prompts = unique(prompts);
    }
    plan.eval.prompts.iter_mut().for_each(|prompt| *prompt = rules.with_trigger(prompt));
}

fn unique(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut all = Vec::new();
    for text in texts {
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all
}

/// A prompt for all images has the trigger's words, and none of the other rules.
fn prompt_alone(s: &Section, rules: &CaptionRules) {
    for key in rules.of_captions_alone() {
        let message = format!("`{key}` is about captions, and with `prompt` every image has that in their place");
        s.reject(key, message, "leave one of the two out");
    }
}

/// Names, and what is left to `[dataset]`.
fn sources(dataset: &Section, plan: &mut Plan) {
    let data = &mut plan.dataset;
    let mut names: Vec<String> = Vec::new();
    for (s, source) in dataset.tables_of("sources").iter().zip(&mut data.sources) {
        if source.name.is_empty() {
            source.name = source.source.short();
        }
        if source.name.chars().any(char::is_control) {
            s.reject("name", "`name` must be on one line, without control characters", "");
        }
        selection::check(s, &source.selection);
        if names.contains(&source.name) {
            s.reject("name", format!("two sources are called “{}”", source.name), "add another `name`");
        }
        names.push(source.name.clone());
        source.center_crop = source.center_crop.or(Some(data.center_crop));
        source.random_flip = source.random_flip.or(Some(data.random_flip));
        let rules = source.captions.as_ref().unwrap_or(&data.captions);
        if let Some(prompt) = &mut source.prompt {
            *prompt = rules.with_trigger(prompt);
            if let Some(own) = &source.captions {
                prompt_alone(&s.section("captions"), own);
            }
        }
    }
    if !data.sources.is_empty() && data.sources.iter().all(|source| source.prior) {
        dataset.missing("which pictures to train on", "a source without `prior`");
    }
}

/// Without subjects there is one class: its prompt, a folder, or sources.
fn one_class(s: &Section, prior: &DreamBooth, own: bool) {
    if own && prior.class_path.is_some() {
        s.reject("class_path", "`class_path` beside a source with `prior`: both are class images", "leave one out");
    }
    if !s.has("class_prompt") && !own {
        s.missing("what the class images show", "`class_prompt`, such as \"a dog\"");
    }
}

/// Each source has one subject, and each subject one source and one class.
fn subjects(s: &Section, prior: &mut DreamBooth, data: &mut super::Dataset) {
    for key in ["class_prompt", "class_path"].into_iter().filter(|key| s.has(key)) {
        s.reject(key, format!("`{key}` beside `subjects`, each of which says its own"), "leave it out");
    }
    let names = |is_prior: bool, data: &super::Dataset| -> Vec<String> {
        data.sources.iter().filter(|source| source.prior == is_prior).map(|source| source.name.clone()).collect()
    };
    let (own, classes) = (names(false, data), names(true, data));
    let mut taken: Vec<&str> = Vec::new();
    for (s, subject) in s.tables_of("subjects").iter().zip(&prior.subjects) {
        if s.has("source") {
            known(s, "source", &subject.source, &own);
        } else {
            s.missing("which images show the subject", "`source`, the `name` of one of [[dataset.sources]]");
        }
        if taken.contains(&subject.source.as_str()) {
            s.reject("source", format!("two subjects have the images of “{}”", subject.source), "leave one out");
        }
        taken.push(&subject.source);
        match &subject.class_source {
            Some(name) => {
                known(s, "class_source", name, &classes);
                if s.has("class_prompt") {
                    let message =
                        "`class_prompt` beside `class_source`, whose images have prompts or captions of their own";
                    s.reject("class_prompt", message, "leave one out");
                }
            }
            None if !s.has("class_prompt") => {
                s.missing("what the subject's class images show", "`class_prompt`, such as \"a dog\"");
            }
            None => {}
        }
        let Some(source) = data.sources.iter_mut().find(|source| source.name == subject.source) else { continue };
        let said = subject
            .prompt
            .as_ref()
            .map(|prompt| source.captions.as_ref().unwrap_or(&data.captions).with_trigger(prompt));
        match (said, &source.prompt) {
            (Some(said), Some(other)) if said != *other => {
                s.reject("prompt", format!("`prompt`: the source “{}” says {other:?}", source.name), "leave one out");
            }
            (Some(said), _) => source.prompt = Some(said),
            (None, _) => {}
        }
    }
    let is_used = |name: &String| {
        prior.subjects.iter().any(|subject| subject.source == *name || subject.class_source.as_ref() == Some(name))
    };
    for name in own.iter().chain(&classes).filter(|name| !is_used(name)) {
        s.reject(
            "subjects",
            format!("`subjects`: none has the images of the source “{name}”"),
            "add one, or leave the source out",
        );
    }
    for subject in &mut prior.subjects {
        let source = data.sources.iter().find(|source| source.name == subject.source);
        if let Some(prompt) = source.and_then(|source| source.prompt.clone()) {
            subject.prompt = Some(prompt);
        }
    }
}

/// Complains unless a source has this name.
fn known(s: &Section, key: &str, name: &str, names: &[String]) {
    if names.iter().any(|known| known == name) {
        return;
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let label = match (similar(name, &names), &names[..]) {
        (Some(near), _) => format!("did you mean \"{near}\"?"),
        (None, []) => "there is none".to_owned(),
        (None, all) => format!("there is {}", all.iter().map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ")),
    };
    let which = if key == "source" { "without `prior`" } else { "with `prior`" };
    s.reject(key, format!("`{key}`: none of [[dataset.sources]] {which} is called \"{name}\""), label);
}

/// DreamBooth's subjects are called something.
fn needs_prompts(dataset: &Section, data: &super::Dataset) {
    const PROMPT: &str = "`prompt`, such as \"a sks dog\"";
    const WHAT: &str = "what DreamBooth calls its subject";
    if data.sources.is_empty() {
        if !dataset.has("prompt") {
            dataset.missing(WHAT, PROMPT);
        }
        return;
    }
    for (s, part) in dataset.tables_of("sources").iter().zip(data.parts()) {
        if !part.prior && part.prompt.is_none() && !s.has("prompt") {
            s.missing(WHAT, PROMPT);
        }
    }
}
