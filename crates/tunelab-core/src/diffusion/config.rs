//! What a `scheduler_config.json` may say, as diffusers writes it for any of its schedulers.
//!
//! In: the file's text. Out: the keys that matter here, each still optional where diffusers' classes have different
//! defaults. Keys that no formula here reads are ignored, because such files carry those of other classes along;
//! an option that would change the numbers and is not built is an error that names file and key.

use crate::error::{Error, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// What the UNet was trained to predict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PredictionType {
    /// The noise ε.
    Epsilon,
    /// The velocity v = √ᾱ ε − √(1−ᾱ) x₀ (Salimans and Ho, 2022, appendix D).
    VPrediction,
}

/// How a sampler spreads its steps over the training timesteps (Lin et al., 2023, table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Spacing {
    /// Evenly from the last to the first timestep.
    Linspace,
    /// Multiples of ⌊T / steps⌋ from 0 upwards, plus the offset.
    Leading,
    /// From the last timestep downwards by T / steps.
    Trailing,
}

/// How the betas grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum BetaSchedule {
    #[serde(rename = "linear")]
    Linear,
    #[serde(rename = "scaled_linear")]
    ScaledLinear,
    #[serde(rename = "squaredcos_cap_v2")]
    SquaredCosine,
}

/// In what the noise levels are evenly spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// In σ^(1/7), from the configuration's `sigma_max` to its `sigma_min` (Karras et al., 2022, formula 5).
    Karras,
    /// In ln σ (Lu et al., 2022, "DPM-Solver").
    Lu,
}

impl Spread {
    /// What asks for it in the configuration.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Karras => "use_karras_sigmas",
            Self::Lu => "use_lu_lambdas",
        }
    }
}

/// The keys of `scheduler_config.json` that matter; `None` where the file leaves a key out and the sampler's own default
/// holds. Single defaults are those of diffusers.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    #[serde(skip)]
    pub file: PathBuf,
    #[serde(rename = "_class_name")]
    pub class_name: Option<String>,
    pub num_train_timesteps: usize,
    pub beta_start: f64,
    pub beta_end: f64,
    pub beta_schedule: BetaSchedule,
    pub trained_betas: Option<Vec<f32>>,
    pub rescale_betas_zero_snr: bool,
    prediction_type: String,
    pub timestep_spacing: Option<Spacing>,
    pub steps_offset: usize,
    pub set_alpha_to_one: Option<bool>,
    pub skip_prk_steps: Option<bool>,
    pub clip_sample: Option<bool>,
    pub clip_sample_range: f64,
    thresholding: bool,
    algorithm_type: Option<String>,
    solver_order: Option<usize>,
    solver_type: Option<String>,
    final_sigmas_type: Option<String>,
    lambda_min_clipped: Option<f64>,
    variance_type: Option<String>,
    use_karras_sigmas: Option<bool>,
    pub use_exponential_sigmas: Option<bool>,
    pub use_beta_sigmas: Option<bool>,
    use_lu_lambdas: Option<bool>,
    use_flow_sigmas: Option<bool>,
    predict_x0: Option<bool>,
    lower_order_final: Option<bool>,
    disable_corrector: Option<Vec<usize>>,
    solver_p: Option<serde::de::IgnoredAny>,
    interpolation_type: Option<String>,
    timestep_type: Option<String>,
    pub sigma_min: Option<f64>,
    pub sigma_max: Option<f64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: PathBuf::new(),
            class_name: None,
            num_train_timesteps: 1000,
            beta_start: 0.0001,
            beta_end: 0.02,
            beta_schedule: BetaSchedule::Linear,
            trained_betas: None,
            rescale_betas_zero_snr: false,
            prediction_type: "epsilon".into(),
            timestep_spacing: None,
            steps_offset: 0,
            set_alpha_to_one: None,
            skip_prk_steps: None,
            clip_sample: None,
            clip_sample_range: 1.0,
            thresholding: false,
            algorithm_type: None,
            solver_order: None,
            solver_type: None,
            final_sigmas_type: None,
            lambda_min_clipped: None,
            variance_type: None,
            use_karras_sigmas: None,
            use_exponential_sigmas: None,
            use_beta_sigmas: None,
            use_lu_lambdas: None,
            use_flow_sigmas: None,
            predict_x0: None,
            lower_order_final: None,
            disable_corrector: None,
            solver_p: None,
            interpolation_type: None,
            timestep_type: None,
            sigma_min: None,
            sigma_max: None,
        }
    }
}

/// The schedulers whose configurations describe the discrete variance-preserving process that is built here.
const CLASSES: [&str; 21] = [
    "DDIMScheduler",
    "DDIMInverseScheduler",
    "DDIMParallelScheduler",
    "DDPMScheduler",
    "DDPMParallelScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverMultistepInverseScheduler",
    "DPMSolverSinglestepScheduler",
    "DPMSolverSDEScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
    "SASolverScheduler",
    "LCMScheduler",
    "TCDScheduler",
];

impl Config {
    /// Reads the file's text and checks what every use of it needs.
    pub fn parse(json: &str, file: &Path) -> Result<Self> {
        let mut config = Self::read(json).map_err(|e| {
            Error::input(format!("{} is not a scheduler configuration that can be used", file.display())).cause(e)
        })?;
        config.file = file.to_path_buf();
        config.check_class()?;
        config.check_numbers()?;
        config.prediction()?;
        for (key, set) in
            [("thresholding", config.thresholding), ("use_flow_sigmas", config.use_flow_sigmas == Some(true))]
        {
            config.refuse(set, key, "true").map_err(|e| {
                e.hint(format!("models of the Stable Diffusion 1.x and 2.x kind have it at false: is `{key}` meant?"))
            })?;
        }
        Ok(config)
    }

    /// The keys, those that are `null` as if they were not there: Python writes so what is switched off.
    fn read(json: &str) -> serde_json::Result<Self> {
        let mut keys: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&without_infinities(json))?;
        keys.retain(|_, value| !value.is_null());
        serde_json::from_value(keys.into())
    }

    /// What the UNet predicts.
    pub fn prediction(&self) -> Result<PredictionType> {
        match self.prediction_type.as_str() {
            "epsilon" => Ok(PredictionType::Epsilon),
            "v_prediction" => Ok(PredictionType::VPrediction),
            other => Err(self
                .unsupported("prediction_type", &format!("\"{other}\""))
                .hint("models of the Stable Diffusion 1.x and 2.x kind predict \"epsilon\" or \"v_prediction\"")),
        }
    }

    /// Refuses what would make DPM-Solver++ something else than the second-order multistep solver; gives in what its noise
    /// levels are spread, if not in timesteps. As in diffusers' `from_config`, the solvers of DEIS and `UniPC` stand for the
    /// midpoint form, and what decides DDPM's variance decides nothing here.
    pub fn dpmpp_2m(&self) -> Result<Option<Spread>> {
        let texts = [
            ("algorithm_type", &self.algorithm_type, &["dpmsolver++"][..]),
            ("solver_type", &self.solver_type, &["midpoint", "logrho", "bh1", "bh2"]),
            ("final_sigmas_type", &self.final_sigmas_type, &["zero"]),
        ];
        for (key, value, built) in texts {
            if let Some(value) = value {
                self.refuse_dpmpp_2m(!built.contains(&value.as_str()), key, &format!("\"{value}\""))?;
            }
        }
        let order = self.solver_order.unwrap_or(2);
        self.refuse_dpmpp_2m(order != 2, "solver_order", &order.to_string())?;
        let clipped = self.lambda_min_clipped.unwrap_or(f64::NEG_INFINITY);
        self.refuse_dpmpp_2m(clipped.is_finite(), "lambda_min_clipped", &clipped.to_string())?;
        if let Some(kind @ ("learned" | "learned_range")) = self.variance_type.as_deref() {
            self.refuse_dpmpp_2m(true, "variance_type", &format!("\"{kind}\""))?;
        }
        self.spread()
    }

    /// Refuses what would make `UniPC` something else than the second-order solver over x₀ with "bh2" and its corrector;
    /// gives whether its noise levels are spread as Karras et al. do. As in diffusers' `from_config`, the solvers of
    /// DPM-Solver++ and DEIS stand for "bh2".
    pub fn unipc(&self) -> Result<bool> {
        let texts = [
            ("solver_type", &self.solver_type, &["bh2", "midpoint", "heun", "logrho"][..]),
            ("final_sigmas_type", &self.final_sigmas_type, &["zero"]),
        ];
        for (key, value, built) in texts {
            if let Some(value) = value {
                self.refuse_with("unipc", !built.contains(&value.as_str()), key, &format!("\"{value}\""))?;
            }
        }
        let order = self.solver_order.unwrap_or(2);
        self.refuse_with("unipc", order != 2, "solver_order", &order.to_string())?;
        self.refuse_with("unipc", self.predict_x0 == Some(false), "predict_x0", "false")?;
        self.refuse_with("unipc", self.lower_order_final == Some(false), "lower_order_final", "false")?;
        let uncorrected = self.disable_corrector.as_ref().is_some_and(|steps| !steps.is_empty());
        self.refuse_with("unipc", uncorrected, "disable_corrector", "not empty")?;
        self.refuse_with("unipc", self.solver_p.is_some(), "solver_p", "another solver")?;
        self.refuse_other_spreads("unipc")?;
        self.check_sigma_range()?;
        Ok(self.has_karras_sigmas())
    }

    /// Refuses what is not built of Euler's method.
    pub fn euler(&self) -> Result<()> {
        let texts = [
            ("final_sigmas_type", &self.final_sigmas_type, "zero"),
            ("interpolation_type", &self.interpolation_type, "linear"),
            ("timestep_type", &self.timestep_type, "discrete"),
        ];
        for (key, value, built) in texts {
            if let Some(value) = value {
                self.refuse_with("euler", value != built, key, &format!("\"{value}\""))?;
            }
        }
        self.refuse_other_spreads("euler")?;
        self.check_sigma_range()
    }

    /// The first noise of a loop from its highest noise level, which is less than pure noise where the spacing is "leading".
    pub fn init_noise_sigma(&self, highest: f64) -> f64 {
        match self.timestep_spacing {
            Some(Spacing::Leading) => (highest * highest + 1.0).sqrt(),
            Some(Spacing::Linspace | Spacing::Trailing) | None => highest,
        }
    }

    /// With betas that are rescaled to zero-terminal SNR, and the spacing that begins at the last timestep.
    pub fn with_zero_terminal_snr(&self) -> Self {
        Self { rescale_betas_zero_snr: true, timestep_spacing: Some(Spacing::Trailing), ..self.clone() }
    }

    /// With the noise levels spread as Karras et al. do, and in no other way.
    pub fn with_karras_sigmas(&self) -> Self {
        Self { use_karras_sigmas: Some(true), use_lu_lambdas: None, ..self.clone() }
    }

    /// Whether the noise levels are to be spread as Karras et al. do.
    pub fn has_karras_sigmas(&self) -> bool {
        self.use_karras_sigmas == Some(true)
    }

    /// Refuses bounds of the noise levels that are out of order.
    pub fn check_sigma_range(&self) -> Result<()> {
        if self.sigma_min.is_some_and(|s| s <= 0.0)
            || self.sigma_max.is_some_and(|s| s <= self.sigma_min.unwrap_or(0.0))
        {
            let file = self.file.display();
            return Err(Error::input(format!(
                "{file}: `sigma_min` and `sigma_max` must be in order and greater than 0"
            )));
        }
        Ok(())
    }

    fn spread(&self) -> Result<Option<Spread>> {
        self.refuse_other_spreads("dpmpp_2m")?;
        let spread = match (self.use_karras_sigmas, self.use_lu_lambdas) {
            (Some(true), _) => Spread::Karras,
            (_, Some(true)) => Spread::Lu,
            _ => return Ok(None),
        };
        // diffusers cuts these timesteps off instead of rounding them, so that the last bit of a logarithm decides.
        let cosine = self.beta_schedule == BetaSchedule::SquaredCosine;
        self.refuse_dpmpp_2m(cosine, spread.key(), "true, with `beta_schedule` \"squaredcos_cap_v2\"")?;
        self.check_sigma_range()?;
        Ok(Some(spread))
    }

    fn refuse_other_spreads(&self, sampler: &str) -> Result<()> {
        let unbuilt =
            [("use_exponential_sigmas", self.use_exponential_sigmas), ("use_beta_sigmas", self.use_beta_sigmas)];
        unbuilt.into_iter().try_for_each(|(key, value)| self.refuse_with(sampler, value == Some(true), key, "true"))
    }

    fn refuse_dpmpp_2m(&self, wrong: bool, key: &str, value: &str) -> Result<()> {
        self.refuse_with("dpmpp_2m", wrong, key, value)
    }

    fn refuse_with(&self, sampler: &str, wrong: bool, key: &str, value: &str) -> Result<()> {
        self.refuse(wrong, key, &format!("{value}, with {sampler}")).map_err(|e| {
            e.hint(format!("use another sampler (pndm, ddim or euler_a), or take `{key}` out of that file"))
        })
    }

    /// An error that names the file, the key and the value that is not built.
    pub fn unsupported(&self, key: &str, value: &str) -> Error {
        Error::input(format!("{}: `{key}` is {value}, which is not supported", self.file.display()))
    }

    fn refuse(&self, wrong: bool, key: &str, value: &str) -> Result<()> {
        if wrong { Err(self.unsupported(key, value)) } else { Ok(()) }
    }

    fn check_class(&self) -> Result<()> {
        match self.class_name.as_deref() {
            Some(name) if !CLASSES.contains(&name) => Err(self
                .unsupported("_class_name", &format!("\"{name}\""))
                .hint("models of the Stable Diffusion 1.x and 2.x kind can be used, for example with a PNDMScheduler")),
            _ => Ok(()),
        }
    }

    fn check_numbers(&self) -> Result<()> {
        let wrong = |key: &str, rule: &str| Error::input(format!("{}: `{key}` must be {rule}", self.file.display()));
        if self.clip_sample_range <= 0.0 {
            return Err(wrong("clip_sample_range", "greater than 0"));
        }
        if let Some(betas) = &self.trained_betas {
            return if betas.len() == self.num_train_timesteps && betas.iter().all(|b| *b > 0.0 && *b < 1.0) {
                Ok(())
            } else {
                Err(wrong("trained_betas", "`num_train_timesteps` numbers between 0 and 1"))
            };
        }
        if !(2..=1_000_000).contains(&self.num_train_timesteps) {
            return Err(wrong("num_train_timesteps", "between 2 and 1000000"));
        }
        if !(self.beta_start > 0.0 && self.beta_start <= self.beta_end && self.beta_end < 1.0) {
            return Err(wrong("beta_start` and `beta_end", "in order and between 0 and 1"));
        }
        Ok(())
    }
}

/// The text of a `scheduler_config.json` with zero-terminal SNR, as `Config::with_zero_terminal_snr` reads it.
///
/// Errors: not a JSON object.
pub fn zero_terminal_snr_json(json: &str) -> Result<String> {
    let keys = serde_json::from_str(&without_infinities(json));
    let mut keys: serde_json::Map<String, serde_json::Value> =
        keys.map_err(|e| Error::input("the scheduler configuration is not a JSON object").cause(e))?;
    keys.insert("rescale_betas_zero_snr".to_owned(), true.into());
    keys.insert("timestep_spacing".to_owned(), "trailing".into());
    Ok(format!("{:#}\n", serde_json::Value::from(keys)))
}

/// Replaces the bare words `Infinity`, `-Infinity` and `NaN`, which Python writes though JSON has no such numbers
/// (diffusers does so in DPM-Solver's `lambda_min_clipped`), by `null`. Text inside quotes stays as it is.
fn without_infinities(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    let mut rest = json;
    while let Some(c) = rest.chars().next() {
        let word = ["-Infinity", "Infinity", "NaN"].into_iter().find(|word| !in_string && rest.starts_with(word));
        out.push_str(if word.is_some() { "null" } else { &rest[..c.len_utf8()] });
        rest = &rest[word.map_or(c.len_utf8(), str::len)..];
        if c == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && c == '\\' && !escaped;
    }
    out
}
