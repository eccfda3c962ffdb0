//! Group normalization, optionally followed by `SiLU`: one block of threads for each group of a
//! sample. x is kept for backward, with mean and deviation; weight and bias are f32 for the
//! kernels, whatever their own type.
//!
//! In: tensors of one card. Out: a tensor, noted on the tape.

use crate::cuda::elementwise::row_sums;
use crate::cuda::{Argument, Fresh, NULL, Source, blocks, cast, device, launch, like, pointer, source, typed};
use crate::shapes::FusedActivation;
use crate::tape::operand;
use candle_core::{DType, Result, Tensor, bail};

const SOURCE: Source = source!("group_norm");

/// See [`group_norm`](crate::group_norm()), which has checked the number of groups.
pub(crate) fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    activation: FusedActivation,
) -> Result<Tensor> {
    let (x, weight, bias) = (operand(x)?, operand(weight)?, operand(bias)?);
    let slabs = Slabs::new(&x, groups, activation)?;
    if weight.dims() != [slabs.groups * slabs.channels] || bias.dims() != weight.dims() {
        bail!("group_norm: weight {:?} and bias {:?} for x {:?}", weight.dims(), bias.dims(), x.dims());
    }
    let of = weight.dtype();
    let parameters = [cast(&weight, DType::F32)?, cast(&bias, DType::F32)?];
    let (y, stats) = slabs.forward(&x, &parameters, eps)?;
    let kept = x.clone();
    y.node_onto([&x, &weight, &bias], move |dy, [dx, dw, db], so_far| {
        let (dx, sums) = slabs.backward(&kept, dy, &parameters, &stats, [dx, dw || db], so_far.take())?;
        let Some(sums) = sums else { return Ok([dx, None, None]) };
        let sums = row_sums(&sums)?;
        Ok([dx, Some(cast(&sums.get(0)?, of)?), Some(cast(&sums.get(1)?, of)?)])
    })
}

/// The groups of all samples, one slab of values each.
#[derive(Clone, Copy)]
struct Slabs {
    samples: usize,
    groups: usize,
    /// Channels in a group.
    channels: usize,
    pixels: usize,
    silu: bool,
}

impl Slabs {
    fn new(x: &Tensor, groups: usize, activation: FusedActivation) -> Result<Self> {
        let (samples, c) = (x.dim(0)?, x.dim(1)?);
        let pixels = x.elem_count() / (samples * c);
        Ok(Self { samples, groups, channels: c / groups, pixels, silu: activation == FusedActivation::Silu })
    }

    fn threads(&self) -> usize {
        match self.channels * self.pixels {
            0..2048 => 128,
            2048..16384 => 512,
            _ => 1024,
        }
    }

    fn silu(&self) -> Argument<'static> {
        Argument::Int(i32::from(self.silu))
    }

    /// y, and mean and 1 / deviation of each slab.
    #[expect(unsafe_code, reason = "kernel launch")]
    fn forward(&self, x: &Tensor, [weight, bias]: &[Tensor; 2], eps: f64) -> Result<(Fresh, Tensor)> {
        let y = Fresh::like(x)?;
        let stats = Fresh::new(device(x)?, DType::F32, (self.samples, self.groups, 2))?;
        let arguments = [
            pointer(x)?.into(),
            pointer(weight)?.into(),
            pointer(bias)?.into(),
            y.pointer()?.into(),
            stats.pointer()?.into(),
            self.groups.into(),
            self.channels.into(),
            self.pixels.into(),
            (eps as f32).into(),
            self.silu(),
        ];
        let over = blocks((self.samples * self.groups, 1, 1), (self.threads(), 1), 0);
        // SAFETY: the kernel's ten parameters; a block reads and writes its slab, reads its
        // channels' weights and biases, which are as many as channels (`group_norm`), and writes
        // its two numbers.
        unsafe { launch(device(x)?, SOURCE, &typed("group_norm_forward", x.dtype()), over, arguments) }?;
        Ok((y, stats.tensor()))
    }

    /// dx if it is wanted, onto what there is of it; and, if they are wanted, each sample's part of
    /// dweight and dbias: [2, samples, C], in f32.
    #[expect(unsafe_code, reason = "kernel launch")]
    fn backward(
        &self,
        x: &Tensor,
        dy: &Tensor,
        [weight, bias]: &[Tensor; 2],
        stats: &Tensor,
        [dx, sums]: [bool; 2],
        so_far: Option<Tensor>,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let so_far = so_far.map(|so_far| like(&so_far, x)).transpose()?;
        let dx = dx.then(|| Fresh::like(x)).transpose()?;
        let of_sums = (2, self.samples, self.groups * self.channels);
        let sums = sums.then(|| Fresh::new(device(x)?, DType::F32, of_sums)).transpose()?;
        let optional = |memory: &Option<Fresh>| {
            memory
                .as_ref()
                .map_or(Ok(NULL), |m| Ok::<_, candle_core::Error>(Argument::Long(m.pointer()?.address() as i64)))
        };
        // Each warp sums a channel, or a part of one if there are more warps.
        let parts = (self.threads() / 32 / self.channels).clamp(1, self.pixels);
        let arguments = [
            pointer(x)?.into(),
            pointer(dy)?.into(),
            pointer(weight)?.into(),
            pointer(bias)?.into(),
            pointer(stats)?.into(),
            so_far.as_ref().map_or(Ok(NULL), |so_far| pointer(so_far).map(Argument::from))?,
            optional(&dx)?,
            optional(&sums)?,
            self.groups.into(),
            self.channels.into(),
            self.pixels.into(),
            parts.into(),
            self.silu(),
        ];
        let shared = 2 * self.channels * parts * size_of::<f32>();
        let over = blocks((self.samples * self.groups, 1, 1), (self.threads(), 1), shared);
        // SAFETY: the kernel's thirteen parameters, of which what is there of dx, dx and sums may be
        // null; a block reads its slab of x, of dy and of what is there, which is like x (`like`),
        // its channels' weights and biases and its two numbers, writes its slab of dx and its
        // channels' sums, and has two numbers of shared memory for each part of a channel.
        unsafe { launch(device(x)?, SOURCE, &typed("group_norm_backward", x.dtype()), over, arguments) }?;
        Ok((dx.map(Fresh::tensor), sums.map(Fresh::tensor)))
    }
}
