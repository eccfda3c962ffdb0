//! Plan → TOML: everything written out, valid as an experiment, and resolving to the same plan.

use std::path::Path;

use super::{Adapter, Length, Objective, Plan, Reference, Source};

/// The plan as an experiment's text.
pub(super) fn to_toml(plan: &Plan) -> String {
    let mut out = Writer(String::new());
    out.text("name", &plan.name);
    out.line("seed", plan.seed);

    out.table("model");
    source(&mut out, &plan.model);

    out.table("dataset");
    source(&mut out, &plan.dataset.source);
    if let Some(prompt) = &plan.dataset.prompt {
        out.text("prompt", prompt);
    }
    out.line("resolution", plan.dataset.resolution);
    out.line("center_crop", plan.dataset.center_crop);
    out.line("random_flip", plan.dataset.random_flip);
    out.float("caption_dropout", plan.dataset.caption_dropout);
    out.line("skip_broken", plan.dataset.skip_broken);

    objective(&mut out, &plan.objective, &plan.adapter);
    train(&mut out, &plan.train);
    eval(&mut out, &plan.eval);
    if let Some(figures) = &plan.reference {
        reference(&mut out, figures);
    }
    if let Some(original) = &plan.stands_in_for {
        out.table("stands_in_for");
        out.text("experiment", &original.experiment);
        out.text("model", &original.model);
        out.text("dataset", &original.dataset);
    }
    out.0
}

fn source(out: &mut Writer, source: &Source) {
    match source {
        Source::Path(path) => out.path("path", path),
        Source::HuggingFace { repo, revision, modelscope } => {
            out.text("repo", repo);
            out.text("revision", revision);
            if let Some(modelscope) = modelscope {
                out.text("modelscope", modelscope);
            }
        }
        Source::ModelScope { repo, revision } => {
            out.text("modelscope", repo);
            out.text("revision", revision);
        }
        Source::Builtin(builtin) => out.text("builtin", builtin.name()),
    }
}

/// DreamBooth's table is around the adapter's.
fn objective(out: &mut Writer, objective: &Objective, trained: &Adapter) {
    let Objective::DreamBooth(dreambooth) = objective else { return adapter(out, "adapter", trained) };
    out.table("adapter.dreambooth");
    out.text("class_prompt", &dreambooth.class_prompt);
    match &dreambooth.class_path {
        Some(path) => out.path("class_path", path),
        None => out.line("class_images", dreambooth.class_images),
    }
    out.float("prior_loss_weight", dreambooth.prior_loss_weight);
    out.line("class_seed", dreambooth.class_seed);
    out.line("class_steps", dreambooth.class_steps);
    out.float("class_guidance_scale", dreambooth.class_guidance_scale);
    out.text("class_sampler", &dreambooth.class_sampler.to_string());
    out.line("class_batch_size", dreambooth.class_batch_size);
    adapter(out, "adapter.dreambooth", trained);
}

fn adapter(out: &mut Writer, around: &str, adapter: &Adapter) {
    match adapter {
        Adapter::Lora(lora) => {
            out.table(&format!("{around}.lora"));
            out.line("rank", lora.rank);
            out.float("alpha", lora.alpha);
            out.texts("targets", &lora.targets);
            out.float("dropout", lora.dropout);
            out.line("text_encoder", lora.text_encoder);
        }
        Adapter::Full(full) => {
            out.table(&format!("{around}.full"));
            out.line("text_encoder", full.text_encoder);
            if let Some(decay) = full.ema_decay {
                out.float("ema_decay", decay);
            }
            out.line("single_file", full.single_file);
        }
    }
}

fn reference(out: &mut Writer, figures: &Reference) {
    out.table("reference");
    out.text("label", &figures.label);
    if let Some(count) = figures.trained_parameters {
        out.line("trained_parameters", count);
    }
    if let Some(seconds) = figures.seconds {
        out.float("seconds", seconds);
    }
    if let Some(seconds) = figures.seconds_per_step {
        out.float("seconds_per_step", seconds);
    }
    if let Some(device) = &figures.device {
        out.text("device", device);
    }
}

fn train(out: &mut Writer, train: &super::Train) {
    out.table("train");
    match train.length {
        Length::Epochs(n) => out.line("epochs", n),
        Length::Steps(n) => out.line("steps", n),
    }
    out.line("batch_size", train.batch_size);
    out.line("gradient_accumulation", train.gradient_accumulation);
    out.float("learning_rate", train.learning_rate);
    out.text("lr_scheduler", &train.lr_scheduler.to_string());
    out.line("warmup_steps", train.warmup_steps);
    out.float("adam_beta1", train.adam_beta1);
    out.float("adam_beta2", train.adam_beta2);
    out.float("adam_epsilon", train.adam_epsilon);
    out.float("weight_decay", train.weight_decay);
    out.float("max_grad_norm", train.max_grad_norm);
    if let Some(gamma) = train.snr_gamma {
        out.float("snr_gamma", gamma);
    }
    out.float("noise_offset", train.noise_offset);
    out.text("dtype", &train.dtype.to_string());
    if train.tf32 {
        out.line("tf32", true);
    }
    out.line("gradient_checkpointing", train.gradient_checkpointing);
    out.line("checkpoint_every", train.checkpoint_every);
    out.line("keep_checkpoints", train.keep_checkpoints);
}

fn eval(out: &mut Writer, eval: &super::Eval) {
    out.table("eval");
    out.texts("prompts", &eval.prompts);
    out.text("negative_prompt", &eval.negative_prompt);
    out.line("compare_base", eval.compare_base);
    out.line("images", eval.images);
    out.line("steps", eval.steps);
    out.float("guidance_scale", eval.guidance_scale);
    out.text("sampler", &eval.sampler.to_string());
    out.line("seed", eval.seed);
    out.line("every", eval.every);
}

/// Lines of TOML.
struct Writer(String);

impl Writer {
    fn table(&mut self, name: &str) {
        self.0.extend(["\n[", name, "]\n"]);
    }

    fn line(&mut self, key: &str, value: impl std::fmt::Display) {
        self.0.extend([key, " = ", &value.to_string(), "\n"]);
    }

    /// The shortest digits that read back as the same number, always with a point or an exponent.
    fn float(&mut self, key: &str, value: f64) {
        self.line(key, format!("{value:?}"));
    }

    fn text(&mut self, key: &str, value: &str) {
        self.line(key, quoted(value));
    }

    fn texts(&mut self, key: &str, values: &[String]) {
        let items: Vec<String> = values.iter().map(|v| quoted(v)).collect();
        self.line(key, format!("[{}]", items.join(", ")));
    }

    /// Resolving took care that the path is UTF-8.
    fn path(&mut self, key: &str, path: &Path) {
        self.text(key, &path.to_string_lossy());
    }
}

/// A basic string on one line.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out += "\\n",
            c if c.is_control() => out.extend([r"\u", &format!("{:04X}", u32::from(c))]),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
