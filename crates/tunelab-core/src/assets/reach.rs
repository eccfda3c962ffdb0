//! Whether an experiment's model and pictures can be had at all: asked quickly, before anything is
//! fetched.
//!
//! In: a plan. Out: nothing, or why not. They can be had where they are on this machine, or where a
//! hub answers, whatever it answers: a refusal or a wrong name is for the fetching to tell. A hub
//! is asked once, and given seconds.

use std::cell::OnceCell;
use std::time::Duration;

use super::find::MASTER;
use super::settings::{HubSettings, Hubs};
use super::web::Web;
use super::{hub, modelscope};
use crate::config::{DataPart, Dataset, Plan, Source};

/// How long one hub has for its answer, from the look-up of its name on. Nobody is asked where the
/// network is forbidden.
const PATIENCE: Duration = Duration::from_secs(4);

/// Which hubs answer, as far as that was asked.
pub struct Reach {
    hubs: Hubs,
    huggingface: OnceCell<bool>,
    modelscope: OnceCell<bool>,
}

/// Whether a hub's cache holds all of a repository at a revision.
type Has<'f> = &'f dyn Fn(&str, &str, &HubSettings) -> bool;

impl Reach {
    /// Nobody has been asked yet.
    pub fn new(hubs: Hubs) -> Self {
        Self { hubs, huggingface: OnceCell::new(), modelscope: OnceCell::new() }
    }

    /// Why the plan's model or its pictures cannot be had: `the model is not on this machine, and …
    /// cannot be reached`.
    pub fn obstacle(&self, plan: &Plan) -> Option<String> {
        let told = |what: &str, silent: String| format!("{what} not on this machine, and {silent}");
        let model = with_model(&plan.model, |[in_huggingface, in_modelscope]| {
            self.silent(&plan.model, in_huggingface, in_modelscope)
        });
        model.map(|silent| told("the model is", silent)).or_else(|| {
            let silent = |part: &DataPart| {
                with_dataset(part, |[in_huggingface, in_modelscope]| {
                    self.silent(&part.source, in_huggingface, in_modelscope)
                })
            };
            let pictures = plan.dataset.parts().iter().find_map(silent);
            pictures.map(|silent| told("the pictures are", silent))
        })
    }

    /// Why files of a Hugging Face repository cannot be had, nor those of the same on ModelScope, if there is one: they are not
    /// here, and the hubs are silent.
    pub fn obstacle_to_files(
        &self,
        (repo, revision): (&str, &str),
        second: Option<&str>,
        needed: &[&str],
    ) -> Option<String> {
        let Hubs { huggingface, modelscope, .. } = &self.hubs;
        let in_modelscope =
            |second: &str| modelscope::has_files(second, MASTER, needed, modelscope) || self.modelscope_answers();
        let had = hub::has_files(repo, revision, needed, huggingface)
            || self.huggingface_answers()
            || second.is_some_and(in_modelscope);
        (!had).then(|| huggingface.silence())
    }

    /// Whether the model can be had without a network.
    pub fn has_model(&self, source: &Source) -> bool {
        with_model(source, |[in_huggingface, in_modelscope]| self.has(source, in_huggingface, in_modelscope))
    }

    /// Whether the pictures can be had without a network.
    pub fn has_dataset(&self, dataset: &Dataset) -> bool {
        let has = |part: &DataPart| {
            with_dataset(part, |[in_huggingface, in_modelscope]| self.has(&part.source, in_huggingface, in_modelscope))
        };
        dataset.parts().iter().all(has)
    }

    fn has(&self, source: &Source, in_huggingface: Has, in_modelscope: Has) -> bool {
        match source {
            Source::Path(path) => path.exists(),
            Source::SingleFile(single) => self.has(&single.at, in_huggingface, in_modelscope),
            Source::Builtin(_) => true,
            Source::ModelScope { repo, revision } => in_modelscope(repo, revision, &self.hubs.modelscope),
            Source::HuggingFace { repo, revision, .. } => in_huggingface(repo, revision, &self.hubs.huggingface),
        }
    }

    /// The hubs that would be needed and do not answer.
    fn silent(&self, source: &Source, in_huggingface: Has, in_modelscope: Has) -> Option<String> {
        let Hubs { huggingface, modelscope, .. } = &self.hubs;
        match source {
            Source::Path(_) | Source::Builtin(_) => None,
            Source::SingleFile(single) => self.silent(&single.at, in_huggingface, in_modelscope),
            Source::ModelScope { repo, revision } => {
                let had = in_modelscope(repo, revision, modelscope) || self.modelscope_answers();
                (!had).then(|| modelscope.silence())
            }
            Source::HuggingFace { repo, revision, modelscope: second } => {
                if in_huggingface(repo, revision, huggingface) || self.huggingface_answers() {
                    return None;
                }
                let Some(second) = second else { return Some(huggingface.silence()) };
                let had = in_modelscope(second, MASTER, modelscope) || self.modelscope_answers();
                (!had).then(|| match huggingface.offline {
                    Some(_) => huggingface.silence(),
                    None => format!("neither {} nor {} can be reached", named(huggingface), named(modelscope)),
                })
            }
        }
    }

    fn huggingface_answers(&self) -> bool {
        *self.huggingface.get_or_init(|| Web::answers(&self.hubs.huggingface, PATIENCE))
    }

    fn modelscope_answers(&self) -> bool {
        *self.modelscope.get_or_init(|| Web::answers(&self.hubs.modelscope, PATIENCE))
    }
}

/// Asks with what the caches must hold of a model: all of its parts, or its one file.
fn with_model<T>(source: &Source, ask: impl FnOnce([Has<'_>; 2]) -> T) -> T {
    let Source::SingleFile(single) = source else { return ask([&hub::has_model, &modelscope::has_model]) };
    let file: Vec<&str> = single.file.as_deref().into_iter().collect();
    ask([&|repo, revision, settings| hub::has_files(repo, revision, &file, settings), &|repo, revision, settings| {
        modelscope::has_files(repo, revision, &file, settings)
    }])
}

/// Asks with what the caches must hold of a data set: the files of its selection.
fn with_dataset<T>(part: &DataPart, ask: impl FnOnce([Has<'_>; 2]) -> T) -> T {
    let selection = &part.selection;
    ask([
        &|repo, revision, settings| hub::has_dataset(repo, revision, selection, settings),
        &|repo, revision, settings| modelscope::has_dataset(repo, revision, selection, settings),
    ])
}

fn named(settings: &HubSettings) -> String {
    format!("{} ({})", settings.hub.name(), settings.endpoint)
}
