//! LoRA (Hu et al. 2021) as PEFT does it: W x + (alpha / rank) · B A x, with A ~ N(0, (1/rank)²)
//! and B zero, in f32.
//!
//! In: which modules are targets (by the end of their path), or tensors of a file. Out: one
//! [`LoraLayer`] a module, which computes that module's whole result from the frozen weight that it
//! is beside. For a convolution A has the convolution's kernel and B is 1x1.

use crate::error::{Error, Result};
use crate::random::Generator;
use candle_core::{DType, Device, Tensor, Var};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tunelab_ops::{self as ops, Weight};

/// What a new adapter looks like.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// Rows of A.
    pub rank: usize,
    /// The update is scaled by alpha / rank.
    pub alpha: f64,
    /// Ends of the module paths that get an adapter ([`super::targets`]): `to_q` fits
    /// `….attn1.to_q`.
    pub targets: Vec<String>,
    /// Probability with which an input of A is dropped in training.
    pub dropout: f64,
}

/// The random dropping of A's inputs; off until the trainer starts a step.
pub struct Dropout {
    p: f64,
    generator: Mutex<Option<Generator>>,
}

impl Dropout {
    /// Drops with probability `p` once a generator is given.
    pub fn new(p: f64) -> Self {
        Self { p, generator: Mutex::new(None) }
    }

    /// Whether it ever drops anything.
    pub fn drops(&self) -> bool {
        self.p > 0.0
    }

    /// Draws the masks of the next forward pass from `generator`; `None` turns dropping off.
    pub fn set(&self, generator: Option<Generator>) {
        *self.lock() = generator;
    }

    /// The generator as it is now: to draw the same masks once more.
    pub fn state(&self) -> Option<Generator> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Generator>> {
        self.generator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut generator = self.lock();
        let Some(generator) = generator.as_mut().filter(|_| self.p > 0.0) else { return Ok(x.clone()) };
        let keep = 1.0 / (1.0 - self.p);
        let mask: Vec<f32> = generator
            .rand(x.elem_count())
            .into_iter()
            .map(|u| if f64::from(u) < self.p { 0.0 } else { keep as f32 })
            .collect();
        Ok(ops::masked(x, mask)?)
    }
}

/// The adapter of one module.
#[derive(Clone)]
pub struct LoraLayer {
    /// A: [rank, in], or [rank, in, kh, kw] for a convolution.
    pub lora_a: Tensor,
    /// B: [out, rank], or [out, rank, 1, 1].
    pub lora_b: Tensor,
    /// alpha; the update is scaled by alpha / rank.
    pub alpha: f64,
    /// A further factor, the user's `--lora-scale`.
    pub scale: f64,
    dropout: Option<Arc<Dropout>>,
}

impl LoraLayer {
    /// A new adapter for the module at `path` whose weight has the shape `weight`: A random from
    /// the stream of that path, B zero, both trained.
    pub fn fresh(
        config: &LoraConfig,
        path: &str,
        weight: &[usize],
        seed: u64,
        dropout: &Arc<Dropout>,
        device: &Device,
    ) -> Result<Self> {
        let (mut a_dims, mut b_dims) = (weight.to_vec(), vec![1; weight.len()]);
        a_dims[0] = config.rank;
        b_dims[0] = weight[0];
        b_dims[1] = config.rank;
        let n = a_dims.iter().product();
        let std = 1.0 / config.rank as f32;
        let a = Generator::stream(seed, &format!("lora {path}"), 0).randn(n).into_iter().map(|v| v * std).collect();
        let a = Var::from_tensor(&Tensor::from_vec::<_, f32>(a, a_dims, device)?)?;
        let b = Var::zeros(b_dims, DType::F32, device)?;
        let dropout = (config.dropout > 0.0).then(|| Arc::clone(dropout));
        let (lora_a, lora_b) = (a.as_tensor().clone(), b.as_tensor().clone());
        Ok(Self { lora_a, lora_b, alpha: config.alpha, scale: 1.0, dropout })
    }

    /// An adapter from given tensors, without dropout. Whether it is trained depends on the
    /// tensors.
    pub fn from_tensors(lora_a: Tensor, lora_b: Tensor, alpha: f64, scale: f64) -> Self {
        Self { lora_a, lora_b, alpha, scale, dropout: None }
    }

    /// Rows of A.
    pub fn rank(&self) -> usize {
        self.lora_a.dims()[0]
    }

    /// Its trained tensors, each with the end of its name in PEFT.
    pub fn tensors(&self) -> [(&'static str, &Tensor); 2] {
        [("lora_A.weight", &self.lora_a), ("lora_B.weight", &self.lora_b)]
    }

    /// The same update with alpha / rank multiplied into B, so that alpha is the rank: what is
    /// written for programs that know no alpha, and what every picture is drawn with, so that all
    /// files of one adapter draw the same bytes.
    pub fn folded(&self) -> Result<Self> {
        let rank = self.rank() as f64;
        // alpha in 32 bits, as files in kohya's naming have it.
        let scale = f64::from(self.alpha as f32) / rank;
        let lora_b =
            if self.alpha.to_bits() == rank.to_bits() { self.lora_b.clone() } else { (self.lora_b.detach() * scale)? };
        Ok(Self { lora_b, alpha: rank, ..self.clone() })
    }

    /// The same tensors without dropout.
    #[must_use]
    pub fn without_dropout(&self) -> Self {
        Self { dropout: None, ..self.clone() }
    }

    /// Checks the shapes against the module's weight.
    pub fn check(&self, path: &str, weight: &[usize]) -> Result<()> {
        let (lora_a, lora_b) = (self.lora_a.dims(), self.lora_b.dims());
        let fits = lora_a.len() == weight.len()
            && lora_b.len() == weight.len()
            && lora_a[1..] == weight[1..]
            && lora_a[0] > 0
            && lora_b[0] == weight[0]
            && lora_b[1] == lora_a[0]
            && lora_b[2..].iter().all(|&n| n == 1);
        if fits {
            return Ok(());
        }
        Err(Error::input(format!(
            "the LoRA of `{path}` has A {lora_a:?} and B {lora_b:?}, but the module's weight is {weight:?}"
        ))
        .hint("this LoRA was trained for another base model"))
    }

    /// W x + b + B A x · alpha / rank: the result of the adapted linear module of this weight and
    /// bias.
    pub fn forward(&self, x: &Tensor, weight: &Weight, bias: Option<&Tensor>) -> Result<Tensor> {
        if self.dropout.is_none() {
            return Ok(weight.linear_lora(x, bias, [&self.lora_a, &self.lora_b], self.factor())?);
        }
        let y = weight.linear(x, bias)?;
        Ok(ops::add(&y, &self.update(x)?)?)
    }

    /// The same of a convolution of this stride and padding.
    pub fn forward_conv2d(
        &self,
        x: &Tensor,
        weight: &Weight,
        bias: Option<&Tensor>,
        stride: usize,
        padding: ops::Padding,
    ) -> Result<Tensor> {
        let y = weight.conv2d(x, bias, stride, padding)?;
        let low = ops::conv2d(&self.drop(x)?, &self.lora_a, None, stride, padding)?;
        let update = ops::conv2d(&ops::scale(&low, self.factor())?, &self.lora_b, None, 1, ops::Padding::same(0))?;
        Ok(ops::add(&y, &update)?)
    }

    /// B A x · alpha / rank: what a linear module's result is changed by.
    pub fn update(&self, x: &Tensor) -> Result<Tensor> {
        let low = ops::scale(&ops::linear(&self.drop(x)?, &self.lora_a, None)?, self.factor())?;
        Ok(ops::linear(&low, &self.lora_b, None)?)
    }

    /// Whether one operation can make the updates of both, of modules of as many inputs and outputs.
    pub fn packs_with(&self, other: &Self) -> bool {
        let same = self.rank() == other.rank() && self.factor().to_bits() == other.factor().to_bits();
        same && self.dropout.is_none() && other.dropout.is_none()
    }

    /// The factor of the update: of the low-rank values, which are the fewest.
    pub fn factor(&self) -> f64 {
        self.scale * self.alpha / self.rank() as f64
    }

    fn drop(&self, x: &Tensor) -> Result<Tensor> {
        self.dropout.as_ref().map_or_else(|| Ok(x.clone()), |dropout| dropout.forward(x))
    }
}

/// The adapters of one network by module path.
pub type LoraLayers = BTreeMap<String, LoraLayer>;

/// These adapters with alpha / rank in B.
pub fn folded(layers: &LoraLayers) -> Result<LoraLayers> {
    layers.iter().map(|(path, layer)| Ok((path.clone(), layer.folded()?))).collect()
}
