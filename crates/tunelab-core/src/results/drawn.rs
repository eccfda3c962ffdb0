//! What a plan draws, read from it as data, so that plans of earlier versions stay readable.
//!
//! In: a plan's table. Out: its prompts and how many images of them there are, and when.

use toml::{Table, Value};

/// What a plan draws.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// The evaluation's prompts, and where images are measured the class prompt behind them.
    pub prompts: Vec<String>,
    /// Images of each, if the plan says so.
    pub images: Option<usize>,
    /// Optimizer steps between two sets of images while training; 0 is never.
    pub images_every: usize,
}

impl Drawn {
    /// Of this plan.
    pub fn of(plan: &Table) -> Self {
        let get = |table: &str, key: &str| plan.get(table)?.get(key);
        let texts = |value: Option<&Value>| -> Vec<String> {
            let items = value.and_then(Value::as_array).into_iter().flatten();
            items.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let count = |key: &str| usize::try_from(get("eval", key)?.as_integer()?).ok();
        let mut prompts = texts(get("eval", "prompts"));
        let is_measured = !texts(get("metrics", "encoders")).is_empty();
        let class = get("metrics", "class_prompt").and_then(Value::as_str);
        let class = class.filter(|class| is_measured && !class.is_empty() && !prompts.iter().any(|own| own == class));
        prompts.extend(class.map(str::to_owned));
        Self { prompts, images: count("images"), images_every: count("images_every").unwrap_or(0) }
    }
}
