//! A frozen weight in bf16, in the order in which tiles read it.
//!
//! In: a tensor. Out: its lines, and the tensor again.

use crate::cpu::accumulators::BLOCK;
use crate::cpu::line_buffer::{CacheLine, ZERO_LINE};
use crate::gemm_bf16::unit::Unit;
use crate::shapes::Padding;
use crate::simd::Avx512Bf16;
use candle_core::{DType, Device, Result, Tensor};
use half::bf16;
use std::sync::Arc;

/// Lines of a block of 32 outputs and 32 inputs: one for each output.
pub(super) const LINES: usize = BLOCK;

/// A weight [outputs, inputs] of a linear map, or [outputs, inputs, kernel, kernel] of a
/// convolution, rounded to bf16.
///
/// Block (output / 32, input / 32, tap) is number (output block · input blocks + input block) ·
/// taps + tap; in it each output has a line of 32 inputs.
#[derive(Clone)]
pub struct PackedBf16 {
    /// What its products are computed on.
    pub(super) unit: Unit,
    dims: Vec<usize>,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    /// Rows (and columns) of the kernel: 1 or 3.
    pub(super) kernel: usize,
    pub(super) lines: Arc<Vec<CacheLine>>,
}

impl PackedBf16 {
    /// Whether a weight of these dimensions can be held so, and this processor can use it.
    pub fn fits(dims: &[usize]) -> bool {
        let kernel = match dims {
            [_, _] => 1,
            [_, _, h, w] if h == w => *h,
            _ => return false,
        };
        let whole = |n: &usize| n.is_multiple_of(BLOCK) && *n > 0;
        matches!(kernel, 1 | 3) && dims[..2].iter().all(whole) && Unit::detect().is_some()
    }

    /// Lays out a weight of any float type, rounding to the nearest bf16, ties to even. Its
    /// dimensions must [fit](Self::fits).
    pub fn new(weight: &Tensor) -> Result<Self> {
        let Some(unit) = Unit::detect().filter(|_| Self::fits(weight.dims())) else {
            candle_core::bail!("gemm_bf16: a weight of {:?} does not fit", weight.dims());
        };
        let (outputs, inputs) = (weight.dim(0)?, weight.dim(1)?);
        let taps = weight.elem_count() / (outputs * inputs);
        let flat = weight.to_device(&Device::Cpu)?.to_dtype(DType::BF16)?.flatten_all()?.to_vec1::<bf16>()?;
        let mut lines = vec![ZERO_LINE; outputs * inputs * taps / BLOCK];
        for (number, block) in lines.chunks_exact_mut(LINES).enumerate() {
            let (tap, pair) = (number % taps, number / taps);
            let (first_input, first_output) = (pair % (inputs / BLOCK) * BLOCK, pair / (inputs / BLOCK) * BLOCK);
            for (row, line) in block.iter_mut().enumerate() {
                let at = |i: usize| flat[((first_output + row) * inputs + first_input + i) * taps + tap].to_bits();
                line.0 = std::array::from_fn(|i| u32::from(at(2 * i)) | u32::from(at(2 * i + 1)) << 16);
            }
        }
        Ok(Self { unit, dims: weight.dims().to_vec(), outputs, inputs, kernel: taps.isqrt(), lines: Arc::new(lines) })
    }

    /// The weight's dimensions.
    pub fn dims(&self) -> Vec<usize> {
        self.dims.clone()
    }

    /// The weight's values in their usual order, in bf16.
    pub fn tensor(&self) -> Result<Tensor> {
        let (taps, inputs) = (self.taps(), self.inputs);
        let mut flat = vec![bf16::ZERO; self.outputs * inputs * taps];
        for (number, block) in self.lines.chunks_exact(LINES).enumerate() {
            let (tap, pair) = (number % taps, number / taps);
            let (first_input, first_output) = (pair % (inputs / BLOCK) * BLOCK, pair / (inputs / BLOCK) * BLOCK);
            for (row, line) in block.iter().enumerate() {
                for (i, both) in line.0.iter().enumerate() {
                    let at = ((first_output + row) * inputs + first_input + 2 * i) * taps + tap;
                    flat[at] = bf16::from_bits(*both as u16);
                    flat[at + taps] = bf16::from_bits((both >> 16) as u16);
                }
            }
        }
        Tensor::from_vec(flat, &self.dims[..], &Device::Cpu)
    }

    /// The witness of the vector instructions that pack for it.
    pub(super) fn simd(&self) -> Avx512Bf16 {
        self.unit.avx512_bf16()
    }

    pub(super) fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Blocks of inputs.
    pub(super) fn input_blocks(&self) -> usize {
        self.inputs / BLOCK
    }

    /// Blocks of outputs.
    pub(super) fn output_blocks(&self) -> usize {
        self.outputs / BLOCK
    }

    /// The first line of a block.
    pub(super) fn block(&self, output: usize, input: usize, tap: usize) -> usize {
        ((output * self.input_blocks() + input) * self.taps() + tap) * LINES
    }

    /// Rows of the matrix.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns of the matrix, for each tap.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Whether convolutions with this stride and padding can be computed.
    pub fn supports(&self, stride: usize, padding: Padding) -> bool {
        padding == Padding::same(self.kernel / 2) && (stride == 1 || (stride == 2 && self.kernel == 3))
    }
}

impl std::fmt::Debug for PackedBf16 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedBf16({:?})", self.dims)
    }
}
