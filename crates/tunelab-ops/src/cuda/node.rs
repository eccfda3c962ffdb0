//! A fresh result as an operation's, noted on the tape.
//!
//! In: fresh memory that a kernel writes. Out: a tensor.

use crate::cuda::Fresh;
use crate::tape::{self, SoFar};
use candle_core::{Result, Storage, Tensor};

impl Fresh {
    /// As the result of an operation; see [`tape::made`].
    pub(super) fn node<'t, const N: usize>(
        self,
        inputs: [impl Into<Option<&'t Tensor>>; N],
        backward: impl FnOnce(&Tensor, [bool; N]) -> Result<[Option<Tensor>; N]> + 'static,
    ) -> Result<Tensor> {
        let (storage, shape) = self.into_parts();
        tape::made(Storage::Cuda(storage), shape, inputs, backward)
    }

    /// The same of one that makes the gradient of its first input onto what there is of it; see
    /// [`tape::made_onto`].
    pub(super) fn node_onto<'t, const N: usize>(
        self,
        inputs: [impl Into<Option<&'t Tensor>>; N],
        backward: impl FnOnce(&Tensor, [bool; N], SoFar) -> Result<[Option<Tensor>; N]> + 'static,
    ) -> Result<Tensor> {
        let (storage, shape) = self.into_parts();
        tape::made_onto(Storage::Cuda(storage), shape, inputs, backward)
    }
}
