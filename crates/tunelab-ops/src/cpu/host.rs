//! Tensors in host memory as slices, and host tensors from values.
//!
//! In: candle's tensors. Out: their values, borrowed; and tensors of f32.

use super::uninit_output::par_map;
use candle_core::{CpuStorage, Device, Layout, Result, Shape, Storage, Tensor, WithDType, bail};
use half::bf16;
use std::marker::PhantomData;
use std::ops::Deref;

/// Whether this tensor is f32 in host memory, where the operations have their own bodies.
pub(crate) fn is_host_f32(t: &Tensor) -> bool {
    t.dtype() == candle_core::DType::F32 && t.device().is_cpu()
}

/// The values of a contiguous layout over an f32 host storage.
pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("operand is not contiguous") };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// The values of a contiguous tensor in host memory, borrowed for as long as this lives.
pub(crate) struct Values<'a, T = f32> {
    storage: candle_core::StorageRef<'a>,
    start: usize,
    end: usize,
    of: PhantomData<T>,
}

/// Borrows a contiguous f32 host tensor's values.
pub(crate) fn values(t: &Tensor) -> Result<Values<'_>> {
    values_of(t)
}

/// Borrows a contiguous host tensor's values of type T.
pub(crate) fn values_of<T: WithDType>(t: &Tensor) -> Result<Values<'_, T>> {
    let (storage, layout) = t.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("operand is not contiguous") };
    match &*storage {
        Storage::Cpu(cpu) => {
            cpu.as_slice::<T>()?;
        }
        _ => bail!("operand is not in host memory"),
    }
    Ok(Values { storage, start, end, of: PhantomData })
}

impl<T: WithDType> Deref for Values<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &*self.storage {
            Storage::Cpu(cpu) => cpu.as_slice().map_or(&[], |data| &data[self.start..self.end]),
            _ => &[],
        }
    }
}

/// A host tensor from values.
pub(crate) fn tensor(data: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(data, shape.into(), &Device::Cpu)
}

/// A host tensor of bf16 in f32.
pub(crate) fn upcast(t: &Tensor) -> Result<Tensor> {
    let values = par_map(&values_of(t)?, |value: bf16| f32::from_bits(u32::from(value.to_bits()) << 16));
    tensor(values, t.dims())
}
