//! cuDNN's convolutions of one shape: descriptors, the list of algorithms, and computing with one.
//!
//! In: a shape, a type, a handle; addresses of a card's memory. Out: what cuDNN lists, and results
//! in that memory. Descriptors are kept until the program ends: the library may be gone before a
//! thread's values are dropped.

use crate::cuda::algorithm::{Algorithm, Arithmetic, Direction, Offer, math};
use crate::shapes::ConvShape;
use candle_core::cuda_backend::cudarc::cudnn::result::{self as dnn, CudnnError};
use candle_core::cuda_backend::cudarc::cudnn::sys;
use candle_core::cuda_backend::cudarc::driver::CudaStream;
use candle_core::cuda_backend::cudarc::driver::sys::CUdeviceptr;
use candle_core::{DType, Result, bail};
use std::ffi::{c_int, c_void};
use std::ptr::from_ref;

/// What cuDNN answers.
pub(super) type Said<T> = std::result::Result<T, CudnnError>;

/// cuDNN on one stream.
#[expect(unsafe_code, reason = "a call of cuDNN")]
pub(super) fn handle(stream: &CudaStream) -> Said<sys::cudnnHandle_t> {
    let handle = dnn::create_handle()?;
    // SAFETY: both are valid, and the handle is used as long as the device is, whose stream it is.
    unsafe { dnn::set_stream(handle, stream.cu_stream().cast()) }?;
    Ok(handle)
}

/// The descriptors of one shape in one type.
#[derive(Clone, Copy)]
pub(super) struct Convolution {
    handle: sys::cudnnHandle_t,
    conv: sys::cudnnConvolutionDescriptor_t,
    x: sys::cudnnTensorDescriptor_t,
    weight: sys::cudnnFilterDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
}

/// An entry of cuDNN's lists, which are alike for all directions. Its numbers are taken as numbers:
/// a newer library may have more of them than the enums here.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Listed {
    algorithm: u32,
    status: u32,
    time: f32,
    memory: usize,
    determinism: u32,
    math: u32,
    reserved: [c_int; 3],
}

const _: () = {
    assert!(size_of::<Listed>() == size_of::<sys::cudnnConvolutionFwdAlgoPerfStruct>());
    assert!(size_of::<Listed>() == size_of::<sys::cudnnConvolutionBwdDataAlgoPerfStruct>());
    assert!(size_of::<Listed>() == size_of::<sys::cudnnConvolutionBwdFilterAlgoPerfStruct>());
};

impl Convolution {
    /// For x, W and y in NCHW, with sums in f32.
    #[expect(unsafe_code, reason = "calls of cuDNN")]
    pub(super) fn new(handle: sys::cudnnHandle_t, g: &ConvShape, dtype: DType) -> Result<Self> {
        let of = match dtype {
            DType::F32 => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
            DType::BF16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
            DType::F16 => sys::cudnnDataType_t::CUDNN_DATA_HALF,
            _ => bail!("conv2d: no convolution of {dtype:?}"),
        };
        let format = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW;
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let sums = sys::cudnnDataType_t::CUDNN_DATA_FLOAT;
        let [x_dims, w_dims, y_dims] = g.dims().map(|dims| dims.map(|n| n as c_int));
        let (pad, stride) = (g.pad as c_int, g.stride as c_int);
        let made = || {
            let (conv, x) = (dnn::create_convolution_descriptor()?, dnn::create_tensor_descriptor()?);
            let (weight, y) = (dnn::create_filter_descriptor()?, dnn::create_tensor_descriptor()?);
            // SAFETY: the four were made above and are never given back.
            unsafe {
                dnn::set_convolution2d_descriptor(conv, pad, pad, stride, stride, 1, 1, mode, sums)?;
                dnn::set_tensor4d_descriptor(x, format, of, x_dims)?;
                dnn::set_filter4d_descriptor(weight, of, format, w_dims)?;
                dnn::set_tensor4d_descriptor(y, format, of, y_dims)?;
            }
            Ok(Self { handle, conv, x, weight, y })
        };
        said(made())
    }

    /// What cuDNN lists for one direction, the fastest first, without what it says does not run.
    #[expect(unsafe_code, reason = "calls of cuDNN")]
    pub(super) fn offers(&self, direction: Direction, arithmetic: Arithmetic) -> Said<Vec<Offer>> {
        let Self { handle, conv, x, weight, y } = *self;
        let mut list = vec![Listed::default(); direction.algorithms()];
        let (most, mut n) = (list.len() as c_int, 0);
        let entries: *mut Listed = list.as_mut_ptr();
        self.set(arithmetic.asked())?;
        // SAFETY: handle and descriptors are never given back; the list has room for `most` entries
        // of the size that is checked above.
        unsafe {
            match direction {
                Direction::Forward => {
                    dnn::get_convolution_forward_algorithm(handle, x, weight, conv, y, most, &raw mut n, entries.cast())
                }
                Direction::Image => dnn::get_convolution_backward_data_algorithm(
                    handle,
                    weight,
                    y,
                    conv,
                    x,
                    most,
                    &raw mut n,
                    entries.cast(),
                ),
                Direction::Weight => dnn::get_convolution_backward_filter_algorithm(
                    handle,
                    x,
                    y,
                    conv,
                    weight,
                    most,
                    &raw mut n,
                    entries.cast(),
                ),
            }
        }?;
        list.truncate(usize::try_from(n).unwrap_or(0));
        let runs = |listed: &&Listed| listed.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS as u32;
        let offer = |listed: &Listed| {
            Some(Offer {
                algorithm: Algorithm::numbered(direction, listed.algorithm)?,
                math: math(listed.math)?,
                bytes: listed.memory,
                ordered: listed.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC as u32,
            })
        };
        Ok(list.iter().filter(runs).filter_map(offer).collect())
    }

    /// How much memory an algorithm wants beside its operands, bytes.
    #[expect(unsafe_code, reason = "calls of cuDNN")]
    pub(super) fn scratch(&self, algorithm: Algorithm, math: sys::cudnnMathType_t) -> Said<usize> {
        let Self { handle, conv, x, weight, y } = *self;
        self.set(math)?;
        // SAFETY: handle and descriptors are never given back.
        unsafe {
            match algorithm {
                Algorithm::Forward(algorithm) => {
                    dnn::get_convolution_forward_workspace_size(handle, x, weight, conv, y, algorithm)
                }
                Algorithm::Image(algorithm) => {
                    dnn::get_convolution_backward_data_workspace_size(handle, weight, y, conv, x, algorithm)
                }
                Algorithm::Weight(algorithm) => {
                    dnn::get_convolution_backward_filter_workspace_size(handle, x, y, conv, weight, algorithm)
                }
            }
        }
    }

    /// Computes the one of x, W and y (or their gradients) that is the algorithm's direction's from
    /// the other two.
    ///
    /// # Safety
    ///
    /// The three addresses must be those of memory of this shape and type, and the scratch that of
    /// as many bytes as [`Convolution::scratch`] said.
    #[expect(unsafe_code, reason = "calls of cuDNN")]
    pub(super) unsafe fn compute(
        &self,
        algorithm: Algorithm,
        math: sys::cudnnMathType_t,
        [at_x, at_weight, at_y]: [CUdeviceptr; 3],
        (scratch, bytes): (CUdeviceptr, usize),
    ) -> Said<()> {
        let Self { handle, conv, x, weight, y } = *self;
        // The factors are f32 for all three types.
        let (one, zero) = (1.0f32, 0.0f32);
        let (alpha, beta): (*const c_void, *const c_void) = (from_ref(&one).cast(), from_ref(&zero).cast());
        let scratch = scratch as *mut c_void;
        let (at_x, at_weight, at_y) = (at_x as *mut c_void, at_weight as *mut c_void, at_y as *mut c_void);
        self.set(math)?;
        // SAFETY: handle and descriptors are never given back; memory is as the caller promises;
        // the factors are copied by the call.
        unsafe {
            match algorithm {
                Algorithm::Forward(algorithm) => dnn::convolution_forward(
                    handle, alpha, x, at_x, weight, at_weight, conv, algorithm, scratch, bytes, beta, y, at_y,
                ),
                Algorithm::Image(algorithm) => dnn::convolution_backward_data(
                    handle, alpha, weight, at_weight, y, at_y, conv, algorithm, scratch, bytes, beta, x, at_x,
                ),
                Algorithm::Weight(algorithm) => dnn::convolution_backward_filter(
                    handle, alpha, x, at_x, y, at_y, conv, algorithm, scratch, bytes, beta, weight, at_weight,
                ),
            }
        }
    }

    /// The directions share one descriptor, so its math type is set before whatever depends on it.
    #[expect(unsafe_code, reason = "a call of cuDNN")]
    fn set(&self, math: sys::cudnnMathType_t) -> Said<()> {
        // SAFETY: the descriptor is never given back.
        unsafe { dnn::set_convolution_math_type(self.conv, math) }
    }
}

/// cuDNN's answer as this program's.
pub(super) fn said<T>(of: Said<T>) -> Result<T> {
    match of {
        Ok(made) => Ok(made),
        Err(e) => bail!("cuDNN: {e}"),
    }
}
