//! Two-dimensional convolution through cuDNN: forward, the gradient of the image, and that of the
//! weight. 1x1 convolutions are products ([`pointwise`]).
//!
//! In: tensors of one card. Out: a tensor, noted on the tape.
//!
//! x and y are of one type, f32 or shorter; a weight and a bias may also be f32 beside shorter
//! ones. All sums are f32, and f32 is not shortened to TF32 unless the card is told to, which cuDNN
//! by itself would do. For each shape the descriptors are made and the algorithm is chosen once,
//! when it is first computed ([`algorithm`](crate::cuda::algorithm)); [`chosen()`] tells of it.

use crate::chosen::Chosen;
use crate::cuda::algorithm::{Arithmetic, Choice, Direction, Most, choose, named, small};
use crate::cuda::cudnn::{Convolution, handle, said};
use crate::cuda::elementwise::plane_sums;
use crate::cuda::kinds::{self, Kind};
use crate::cuda::{Fresh, Pointer, bias, card, cast, device, pointer, pointwise, workspace};
use crate::shapes::{ConvPlus, ConvShape, Padding};
use crate::tape::{operand, tracked};
use candle_core::cuda_backend::cudarc::cudnn::sys::cudnnHandle_t;
use candle_core::cuda_backend::{DeviceId, WrapErr};
use candle_core::{CudaDevice, DType, Result, Tensor, bail};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// See [`conv2d`](crate::conv2d()); plus what comes to the result, which one kernel adds with the bias.
pub(crate) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    plus: Option<ConvPlus<'_>>,
    stride: usize,
    padding: Padding,
) -> Result<Tensor> {
    let (x, weight, bias) = (operand(x)?, operand(weight)?, bias.map(operand).transpose()?);
    let (_, _, height, width) = x.dims4()?;
    // cuDNN pads both sides alike; what is not alike is put around the image first.
    let around = (padding.before != padding.after).then_some(padding);
    let padded = match around {
        Some(Padding { before, after }) => {
            x.detach().pad_with_zeros(2, before, after)?.pad_with_zeros(3, before, after)?.contiguous()?
        }
        None => x.clone(),
    };
    let inner = if around.is_some() { Padding::same(0) } else { padding };
    let g = ConvShape::new(padded.dims4()?, weight.dims4()?, stride, inner)?;
    let y = compute(&g, x.dtype(), Work::Forward { x: &padded, weight: &cast(&weight, x.dtype())? })?;
    if let Some(bias) = bias.as_ref().filter(|bias| bias.dims() != [g.result().1]) {
        bail!("conv2d: a bias {:?} for {} channels", bias.dims(), g.result().1);
    }
    let (shift, residual) = match plus {
        Some(ConvPlus::Shift(shift)) => (Some(operand(shift)?), None),
        Some(ConvPlus::Residual(residual)) => (None, Some(operand(residual)?)),
        None => (None, None),
    };
    if bias.is_some() || plus.is_some() {
        let bias = bias.as_ref().map(|bias| cast(bias, DType::F32)).transpose()?;
        bias::add_to_channels(&y, bias.as_ref(), shift.as_ref(), residual.as_ref())?;
    }
    let (w, kept) = (weight.clone(), tracked(&weight).then_some(padded));
    let dtype = x.dtype();
    let of_bias = bias.as_ref().map_or(DType::F32, Tensor::dtype);
    let inputs = [Some(&x), Some(&weight), bias.as_ref(), shift.as_ref(), residual.as_ref()];
    y.node(inputs, move |dy, [dx, _, db, dshift, dresidual]| {
        let dy = &cast(dy, dtype)?;
        let dx = dx.then(|| {
            let dx = compute(&g, dtype, Work::Image { dy, weight: &cast(&w, dtype)? })?.tensor();
            match around {
                Some(Padding { before, .. }) => dx.narrow(2, before, height)?.narrow(3, before, width)?.contiguous(),
                None => Ok(dx),
            }
        });
        let dw =
            kept.map(|x| cast(&compute(&g, dtype, Work::Weight { x: &x, dy, of: w.dtype() })?.tensor(), w.dtype()));
        let db = db.then(|| cast(&bias::sum_channels(dy)?, of_bias));
        let dshift = dshift.then(|| plane_sums(dy));
        Ok([dx.transpose()?, dw.transpose()?, db.transpose()?, dshift.transpose()?, dresidual.then(|| dy.clone())])
    })
}

/// One of the three computations, with what it reads.
#[derive(Clone, Copy)]
enum Work<'t> {
    /// y of x.
    Forward { x: &'t Tensor, weight: &'t Tensor },
    /// dx of dy.
    Image { dy: &'t Tensor, weight: &'t Tensor },
    /// dW of x and dy, which a product makes in this type.
    Weight { x: &'t Tensor, dy: &'t Tensor, of: DType },
}

/// Computes what the work asks for, in fresh memory.
fn compute(g: &ConvShape, dtype: DType, work: Work<'_>) -> Result<Fresh> {
    if g.is_pointwise() {
        return match work {
            Work::Forward { x, weight } => pointwise::forward(g, dtype, x, weight),
            Work::Image { dy, weight } => pointwise::backward_x(g, dtype, dy, weight),
            Work::Weight { x, dy, of } => pointwise::backward_weight(g, dtype, x, dy, of),
        };
    }
    let (Work::Forward { x: t, .. } | Work::Weight { x: t, .. } | Work::Image { dy: t, .. }) = &work;
    let card = device(t)?;
    let fresh = |(a, b, c, d)| Fresh::new(card, dtype, (a, b, c, d));
    let [of_x, of_w, of_y] = g.dims().map(|[a, b, c, d]| (a, b, c, d));
    let (direction, out) = match work {
        Work::Forward { .. } => (Direction::Forward, fresh(of_y)?),
        Work::Image { .. } => (Direction::Image, fresh(of_x)?),
        Work::Weight { .. } => (Direction::Weight, fresh(of_w)?),
    };
    let memory = match work {
        Work::Forward { x, weight } => [pointer(x)?, pointer(weight)?, out.pointer()?],
        Work::Image { dy, weight } => [out.pointer()?, pointer(weight)?, pointer(dy)?],
        Work::Weight { x, dy, .. } => [pointer(x)?, out.pointer()?, pointer(dy)?],
    };
    with_known(card, (*g, dtype, card::tf32()), |known| {
        kinds::launched(card, Kind::Convolution, || known.run(card, direction, memory))
    })?;
    Ok(out)
}

/// A shape, its type, and whether f32 may be rounded to TF32.
type Key = (ConvShape, DType, bool);

type Shapes = HashMap<Key, Known>;

/// The descriptors of one shape, and for each direction the algorithm, once it is chosen.
struct Known {
    convolution: Convolution,
    arithmetic: Arithmetic,
    choices: [Option<Choice>; 3],
}

impl Known {
    fn new(handle: cudnnHandle_t, (g, dtype, tf32): &Key) -> Result<Self> {
        let arithmetic = match dtype {
            DType::F32 if *tf32 => Arithmetic::Tf32,
            DType::F32 => Arithmetic::F32,
            _ => Arithmetic::Short,
        };
        Ok(Self { convolution: Convolution::new(handle, g, *dtype)?, arithmetic, choices: [None, None, None] })
    }

    /// Computes one direction; the first time, with whichever algorithm is the first to do it.
    #[expect(unsafe_code, reason = "a call of cuDNN")]
    fn run(&mut self, card: &CudaDevice, direction: Direction, memory: [Pointer<'_>; 3]) -> Result<()> {
        let of = self.convolution;
        let at = memory.map(Pointer::address);
        if let Some(known) = &self.choices[direction as usize] {
            let scratch = (workspace(card, known.bytes)?, known.bytes);
            // SAFETY: the three are of the descriptors' dimensions and type (`ConvShape`, `cast` and
            // `compute`), and the scratch has as many bytes as were asked for.
            return said(unsafe { of.compute(known.algorithm, known.math, at, scratch) });
        }
        let offers = of.offers(direction, self.arithmetic).map_err(|e| e.to_string());
        let choice = choose(direction, self.arithmetic, offers, |algorithm, math, most| {
            let bytes = of.scratch(algorithm, math).map_err(|e| e.to_string())?;
            if most == Most::Limited {
                small(bytes)?;
            }
            let scratch = workspace(card, bytes).map_err(|e| e.to_string())?;
            // SAFETY: as above.
            unsafe { of.compute(algorithm, math, at, (scratch, bytes)) }.map_err(|e| e.to_string())?;
            Ok(bytes)
        })?;
        self.choices[direction as usize] = Some(choice);
        Ok(())
    }
}

thread_local! {
    // A handle of cuDNN's belongs to one thread. It is never given back: when a program ends, the
    // library may be gone before this thread's values are dropped.
    static KNOWN: RefCell<HashMap<DeviceId, (cudnnHandle_t, Shapes)>> = RefCell::default();
}

/// Calls `f` with what is known of a shape.
fn with_known<T>(card: &CudaDevice, key: Key, f: impl FnOnce(&mut Known) -> Result<T>) -> Result<T> {
    let stream = card.cuda_stream();
    stream.context().bind_to_thread().w()?;
    KNOWN.with_borrow_mut(|cards| {
        let (handle, shapes) = match cards.entry(card.id()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert((said(handle(&stream))?, Shapes::new())),
        };
        f(match shapes.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let made = Known::new(*handle, new.key())?;
                new.insert(made)
            }
        })
    })
}

/// See [`conv2d::chosen`](crate::conv2d::chosen).
pub(crate) fn chosen(card: &CudaDevice) -> Vec<Chosen> {
    let mut all = Vec::new();
    KNOWN.with_borrow(|cards| {
        for ((g, dtype, _), known) in cards.get(&card.id()).into_iter().flat_map(|(_, shapes)| shapes) {
            let [x, weight, _] = g.dims();
            for (direction, choice) in Direction::ALL.into_iter().zip(&known.choices) {
                all.extend(choice.as_ref().map(|choice| Chosen {
                    what: direction.name(),
                    x,
                    weight,
                    stride: g.stride,
                    dtype: dtype.as_str(),
                    algorithm: choice.algorithm.to_string(),
                    math: named(choice.math),
                    workspace_mib: choice.bytes as f64 / f64::from(1 << 20),
                    passed_over: choice.passed_over.clone(),
                }));
            }
        }
    });
    all.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
    all
}
