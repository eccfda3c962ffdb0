//! Tokens to vectors. Gradients are summed in the order of the texts.
//!
//! In: ids, and tensors of one card. Out: a tensor, noted on the tape.

use crate::cuda::{Fresh, Source, device, launch, of_one_type, over, pointer, source, typed};
use crate::tape::operand;
use candle_core::{Result, Tensor};

const SOURCE: Source = source!("embedding");

/// See [`embedding`](crate::embedding()), which has checked the ids, those of all texts one after
/// the other.
#[expect(unsafe_code, reason = "kernel launch")]
pub(crate) fn embedding(
    ids: Vec<u32>,
    shape: (usize, usize, usize),
    tokens: &Tensor,
    positions: &Tensor,
) -> Result<Tensor> {
    let (tokens, positions) = (operand(tokens)?, operand(positions)?);
    of_one_type(&[&tokens, &positions])?;
    let (_, length, width) = shape;
    let (n, dtype) = (ids.len(), tokens.dtype());
    let ids = Tensor::from_vec(ids, n, tokens.device())?;
    let y = Fresh::new(device(&tokens)?, dtype, shape)?;
    let arguments = [
        pointer(&ids)?.into(),
        pointer(&tokens)?.into(),
        pointer(&positions)?.into(),
        y.pointer()?.into(),
        n.into(),
        length.into(),
        width.into(),
    ];
    // SAFETY: the kernel's seven parameters; each of the n ids is a row of tokens, there are at
    // least `length` positions, and all rows have `width` values.
    unsafe { launch(device(&tokens)?, SOURCE, &typed("embedding", dtype), over(n * width), arguments) }?;
    let [of_tokens, of_positions] = [tokens.shape().clone(), positions.shape().clone()];
    y.node([&tokens, &positions], move |dy, [dtokens, dpositions]| {
        let dtokens = dtokens.then(|| {
            let sums = Tensor::zeros(of_tokens, dtype, dy.device())?;
            let arguments =
                [pointer(&ids)?.into(), pointer(dy)?.into(), pointer(&sums)?.into(), n.into(), width.into()];
            // SAFETY: the kernel's five parameters; dy has n rows, and each id is a row of the
            // sums, which nothing else holds.
            unsafe { launch(device(dy)?, SOURCE, &typed("embedding_tokens", dtype), over(n * width), arguments) }?;
            Ok::<_, candle_core::Error>(sums)
        });
        let dpositions = dpositions.then(|| {
            let (longest, _) = of_positions.dims2()?;
            let sums = Fresh::new(device(dy)?, dtype, of_positions)?;
            let arguments =
                [pointer(dy)?.into(), sums.pointer()?.into(), n.into(), length.into(), longest.into(), width.into()];
            let (name, over) = (typed("embedding_positions", dtype), over(longest * width));
            // SAFETY: the kernel's six parameters; dy has n rows and the sums have `longest`.
            unsafe { launch(device(dy)?, SOURCE, &name, over, arguments) }?;
            Ok::<_, candle_core::Error>(sums.tensor())
        });
        Ok([dtokens.transpose()?, dpositions.transpose()?])
    })
}
