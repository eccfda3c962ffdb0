//! Two-dimensional convolution through cuDNN: forward, the gradient of the image, and that of the
//! weight.
//!
//! In: tensors of one card. Out: a tensor, noted on the tape.
//!
//! x and y are of one type, f32 or shorter; a weight and a bias may also be f32 beside shorter
//! ones. All sums are f32, and f32 is not shortened to TF32 unless the card is told to, which cuDNN
//! by itself would do. For each shape the descriptors, the algorithm and its need of memory are
//! asked for once. Only algorithms whose sums have a fixed order are used.

use crate::cuda::{Fresh, Pointer, bias, card, cast, device, pointer, workspace};
use crate::shapes::ConvShape;
use crate::shapes::Padding;
use crate::tape::{operand, tracked};
use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::cudarc::cudnn::sys::{
    cudnnConvolutionBwdDataAlgo_t as DataAlgorithm, cudnnConvolutionBwdFilterAlgo_t as WeightAlgorithm,
    cudnnConvolutionFwdAlgo_t as ForwardAlgorithm, cudnnConvolutionMode_t, cudnnMathType_t, cudnnTensorFormat_t,
};
use candle_core::cuda_backend::cudarc::cudnn::{
    ConvBackwardData, ConvBackwardFilter, ConvDescriptor, ConvForward, Cudnn, CudnnDataType, CudnnError,
    FilterDescriptor, TensorDescriptor,
};
use candle_core::cuda_backend::cudarc::driver::{CudaStream, DevicePtr, DevicePtrMut, DeviceSlice, SyncOnDrop, sys};
use candle_core::{CudaDevice, DType, Error, Result, Tensor, bail};
use half::{bf16, f16};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::sync::Arc;

/// Algorithms that want more memory than this beside their operands are passed over for ones that
/// want little.
const MOST_SCRATCH: usize = 512 << 20;

/// See [`conv2d`](crate::conv2d()).
pub(crate) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
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
    let y = run(&g, x.dtype(), Work::Forward { x: &padded, weight: &cast(&weight, x.dtype())? })?;
    if let Some(bias) = &bias {
        if bias.dims() != [g.result().1] {
            bail!("conv2d: a bias {:?} for {} channels", bias.dims(), g.result().1);
        }
        bias::add_to_channels(&y, &cast(bias, DType::F32)?)?;
    }
    let (w, kept) = (weight.clone(), tracked(&weight).then_some(padded));
    let dtype = x.dtype();
    let of_bias = bias.as_ref().map_or(DType::F32, Tensor::dtype);
    y.node([Some(&x), Some(&weight), bias.as_ref()], move |dy, [dx, _, db]| {
        let dy = &cast(dy, dtype)?;
        let dx = dx.then(|| {
            let dx = run(&g, dtype, Work::Image { dy, weight: &cast(&w, dtype)? })?.tensor();
            match around {
                Some(Padding { before, .. }) => dx.narrow(2, before, height)?.narrow(3, before, width)?.contiguous(),
                None => Ok(dx),
            }
        });
        let dw = kept.map(|x| cast(&run(&g, dtype, Work::Weight { x: &x, dy })?.tensor(), w.dtype()));
        let db = db.then(|| cast(&bias::sum_channels(dy)?, of_bias));
        Ok([dx.transpose()?, dw.transpose()?, db.transpose()?])
    })
}

/// One of the three computations, with what it reads.
#[derive(Clone, Copy)]
enum Work<'t> {
    /// y of x.
    Forward { x: &'t Tensor, weight: &'t Tensor },
    /// dx of dy.
    Image { dy: &'t Tensor, weight: &'t Tensor },
    /// dW of x and dy.
    Weight { x: &'t Tensor, dy: &'t Tensor },
}

fn run(g: &ConvShape, dtype: DType, work: Work<'_>) -> Result<Fresh> {
    match dtype {
        DType::F32 => run_as(g, dtype, [0.0f32, 1.0], work),
        DType::BF16 => run_as(g, dtype, [bf16::ZERO, bf16::ONE], work),
        DType::F16 => run_as(g, dtype, [f16::ZERO, f16::ONE], work),
        _ => bail!("conv2d: no convolution of {dtype:?}"),
    }
}

#[expect(unsafe_code, reason = "calls of cuDNN")]
fn run_as<T: CudnnDataType + Copy + 'static>(
    g: &ConvShape,
    dtype: DType,
    [zero, one]: [T; 2],
    work: Work<'_>,
) -> Result<Fresh> {
    let (Work::Forward { x: t, .. } | Work::Weight { x: t, .. } | Work::Image { dy: t, .. }) = &work;
    let card = device(t)?;
    let stream = card.cuda_stream();
    let ready = ready::<T>(card, g, dtype)?;
    let span =
        |p: Pointer<'_>, dims: [usize; 4]| Span { address: p.address(), len: dims.iter().product(), stream: &stream };
    let [x_dims, w_dims, y_dims] = g.dims();
    let Ready { conv, x: of_x, weight: of_w, y: of_y, .. } = &*ready;
    let scratch = |bytes: usize| Ok::<_, Error>(Span { address: workspace(card, bytes)?, len: bytes, stream: &stream });
    match work {
        Work::Forward { x, weight } => {
            let y = Fresh::new(card, dtype, g.result())?;
            let op = ConvForward { conv, x: of_x, w: of_w, y: of_y };
            let (x, w) = (span(pointer(x)?, x_dims), span(pointer(weight)?, w_dims));
            let mut out = span(y.pointer()?, y_dims);
            let modest = ForwardAlgorithm::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
            let size = |algorithm| op.get_workspace_size(algorithm);
            ready.forward.run(
                || op.pick_algorithm(),
                &[],
                modest,
                size,
                |algorithm, bytes| {
                    // SAFETY: descriptors and memory are of the same dimensions and the same type T
                    // (`cast` and `ConvShape`), and the workspace has as many bytes as asked for.
                    dnn(unsafe { op.launch(algorithm, Some(&mut scratch(bytes)?), (one, zero), &x, &w, &mut out) })
                },
            )?;
            Ok(y)
        }
        Work::Image { dy, weight } => {
            let dx = Fresh::new(card, dtype, (x_dims[0], x_dims[1], x_dims[2], x_dims[3]))?;
            let op = ConvBackwardData { conv, dx: of_x, w: of_w, dy: of_y };
            let (w, dy) = (span(pointer(weight)?, w_dims), span(pointer(dy)?, y_dims));
            let mut out = span(dx.pointer()?, x_dims);
            let unordered = [DataAlgorithm::CUDNN_CONVOLUTION_BWD_DATA_ALGO_0];
            let modest = DataAlgorithm::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
            let size = |algorithm| op.get_workspace_size(algorithm);
            ready.image.run(
                || op.pick_algorithm(),
                &unordered,
                modest,
                size,
                |algorithm, bytes| {
                    // SAFETY: descriptors and memory are of the same dimensions and the same type T
                    // (`cast` and `ConvShape`), and the workspace has as many bytes as asked for.
                    dnn(unsafe { op.launch(algorithm, Some(&mut scratch(bytes)?), (one, zero), &mut out, &w, &dy) })
                },
            )?;
            Ok(dx)
        }
        Work::Weight { x, dy } => {
            let dw = Fresh::new(card, dtype, (w_dims[0], w_dims[1], w_dims[2], w_dims[3]))?;
            let op = ConvBackwardFilter { conv, x: of_x, dw: of_w, dy: of_y };
            let (x, dy) = (span(pointer(x)?, x_dims), span(pointer(dy)?, y_dims));
            let mut out = span(dw.pointer()?, w_dims);
            let unordered = [
                WeightAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0,
                WeightAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3,
            ];
            let modest = WeightAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1;
            let size = |algorithm| op.get_workspace_size(algorithm);
            ready.weight_gradient.run(
                || op.pick_algorithm(),
                &unordered,
                modest,
                size,
                |algorithm, bytes| {
                    // SAFETY: descriptors and memory are of the same dimensions and the same type T
                    // (`cast` and `ConvShape`), and the workspace has as many bytes as asked for.
                    dnn(unsafe { op.launch(algorithm, Some(&mut scratch(bytes)?), (one, zero), &x, &mut out, &dy) })
                },
            )?;
            Ok(dw)
        }
    }
}

/// The algorithm of one computation and the bytes it needs, once they have been asked for.
struct Choice<A>(Cell<Option<(A, usize)>>);

type Asked<A> = std::result::Result<A, CudnnError>;

impl<A: Copy + PartialEq> Choice<A> {
    /// Runs the algorithm that cuDNN thinks is the fastest, if its sums have a fixed order and it
    /// is content with the memory, or else, or if it does not run, `modest`, which does for every
    /// shape.
    fn run(
        &self,
        ask: impl FnOnce() -> Asked<A>,
        unordered: &[A],
        modest: A,
        size: impl Fn(A) -> Asked<usize>,
        mut launch: impl FnMut(A, usize) -> Result<()>,
    ) -> Result<()> {
        let chosen = match self.0.get() {
            Some(known) => Some(known),
            None => ask()
                .ok()
                .filter(|first| !unordered.contains(first))
                .and_then(|first| Some((first, size(first).ok()?)))
                .filter(|(_, bytes)| *bytes <= MOST_SCRATCH),
        };
        if let Some((algorithm, bytes)) = chosen {
            self.0.set(chosen);
            let done = launch(algorithm, bytes);
            if done.is_ok() || algorithm == modest {
                return done;
            }
        }
        let bytes = dnn(size(modest))?;
        self.0.set(Some((modest, bytes)));
        launch(modest, bytes)
    }
}

/// The descriptors of one shape, and what cuDNN said of it.
struct Ready<T> {
    conv: ConvDescriptor<f32>,
    x: TensorDescriptor<T>,
    weight: FilterDescriptor<T>,
    y: TensorDescriptor<T>,
    forward: Choice<ForwardAlgorithm>,
    image: Choice<DataAlgorithm>,
    weight_gradient: Choice<WeightAlgorithm>,
}

impl<T: CudnnDataType> Ready<T> {
    fn new(cudnn: &Arc<Cudnn>, g: &ConvShape, dtype: DType) -> std::result::Result<Self, CudnnError> {
        let [x, w, y] = g.dims().map(|dims| dims.map(|n| n as i32));
        let (pad, stride) = (g.pad as i32, g.stride as i32);
        let mode = cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let mut conv = cudnn.create_conv2d::<f32>([pad, pad], [stride, stride], [1, 1], mode)?;
        conv.set_math_type(match dtype {
            // The default would use TF32.
            DType::F32 if !card::tf32() => cudnnMathType_t::CUDNN_FMA_MATH,
            DType::F32 => cudnnMathType_t::CUDNN_DEFAULT_MATH,
            _ => cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
        })?;
        let format = cudnnTensorFormat_t::CUDNN_TENSOR_NCHW;
        Ok(Self {
            conv,
            x: cudnn.create_4d_tensor(format, x)?,
            weight: cudnn.create_4d_filter(format, w)?,
            y: cudnn.create_4d_tensor(format, y)?,
            forward: Choice(Cell::new(None)),
            image: Choice(Cell::new(None)),
            weight_gradient: Choice(Cell::new(None)),
        })
    }
}

type Shapes = HashMap<(ConvShape, DType, bool), Rc<dyn Any>>;

thread_local! {
    // A handle of cuDNN's belongs to one thread. Handles and descriptors are never given back: when
    // a program ends, the library may be gone before this thread's values are dropped.
    static KNOWN: RefCell<HashMap<DeviceId, (&'static Arc<Cudnn>, Shapes)>> = RefCell::default();
}

fn ready<T: CudnnDataType + 'static>(device: &CudaDevice, g: &ConvShape, dtype: DType) -> Result<Rc<Ready<T>>> {
    let key = (*g, dtype, card::tf32());
    KNOWN.with_borrow_mut(|known| {
        let (cudnn, shapes) = match known.entry(device.id()) {
            Entry::Occupied(card) => card.into_mut(),
            Entry::Vacant(card) => {
                let cudnn: &'static Arc<Cudnn> = Box::leak(Box::new(dnn(Cudnn::new(device.cuda_stream()))?));
                card.insert((cudnn, Shapes::new()))
            }
        };
        if let Some(ready) = shapes.get(&key).and_then(|ready| Rc::clone(ready).downcast().ok()) {
            return Ok(ready);
        }
        let made = Rc::new(dnn(Ready::<T>::new(cudnn, g, dtype))?);
        std::mem::forget(Rc::clone(&made));
        shapes.insert(key, Rc::clone(&made) as Rc<dyn Any>);
        Ok(made)
    })
}

fn dnn<T>(of: std::result::Result<T, CudnnError>) -> Result<T> {
    match of {
        Ok(made) => Ok(made),
        Err(e) => bail!("cuDNN: {e:?}"),
    }
}

/// A stretch of a card's memory, as cudarc's calls of cuDNN want it.
struct Span<'s> {
    address: sys::CUdeviceptr,
    len: usize,
    stream: &'s Arc<CudaStream>,
}

impl<T> DeviceSlice<T> for Span<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn stream(&self) -> &Arc<CudaStream> {
        self.stream
    }
}

impl<T> DevicePtr<T> for Span<'_> {
    fn device_ptr<'a>(&'a self, _: &'a CudaStream) -> (sys::CUdeviceptr, SyncOnDrop<'a>) {
        (self.address, SyncOnDrop::Record(None))
    }
}

impl<T> DevicePtrMut<T> for Span<'_> {
    fn device_ptr_mut<'a>(&'a mut self, _: &'a CudaStream) -> (sys::CUdeviceptr, SyncOnDrop<'a>) {
        (self.address, SyncOnDrop::Record(None))
    }
}
