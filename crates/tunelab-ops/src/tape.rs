//! The tape: what backward needs, noted while a computation runs, and run backwards once.
//!
//! In: a computation of this room's operations, run by [`record`]. Out: its result, and the
//! [`Tape`] from which [`Tape::backward`] makes the gradients of all trained tensors
//! (`candle_core::Var`s) that it used. Outside of a recording nothing is kept.
//!
//! What an operation makes of a trained tensor during a recording is marked as a `Var` too. So "is
//! a gradient wanted?" is one question, [`tracked`]; and if an operation of candle's comes in
//! between, which the tape would not see, the next of ours finds candle's graph at its operand and
//! refuses it: no gradient stops in silence. [`composed`] takes such operations in.
//!
//! A tape is walked from its end. Each node is dropped as soon as it has been used, and with it
//! what it kept; the gradient of what it made goes before. The order of all sums is the order of
//! the nodes.

use crate::sum;
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, Result, Shape, Storage, Tensor, TensorId, Var, bail};
use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

thread_local! {
    /// The recordings under way on this thread, the innermost last.
    static OPEN: RefCell<Vec<Tape>> = const { RefCell::new(Vec::new()) };
}

/// From the gradient of what a node has made to the gradients of what it was made of.
type Backward = Box<dyn FnOnce(Tensor, &mut Gradients) -> Result<()>>;

struct Node {
    output: TensorId,
    backward: Backward,
}

/// What a recorded computation has left for its backward pass.
#[derive(Default)]
pub struct Tape {
    nodes: Vec<Node>,
}

/// The gradients of the trained tensors that a backward pass has reached.
#[derive(Default)]
pub struct Gradients(HashMap<TensorId, Tensor>);

/// Ends a recording, also where an error or a panic does.
struct Open;

impl Open {
    fn begin() -> Self {
        OPEN.with_borrow_mut(|open| open.push(Tape::default()));
        Self
    }

    fn end(self) -> Tape {
        let tape = OPEN.with_borrow_mut(|open| open.last_mut().map(std::mem::take)).unwrap_or_default();
        drop(self);
        tape
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // What the tape holds is dropped when it is no longer borrowed.
        let _tape = OPEN.with_borrow_mut(Vec::pop);
    }
}

/// Runs `f` and notes what the operations in it need for their backward passes. A recording within
/// another one has a tape of its own, and the outer one knows nothing of it; [`section`] joins the
/// two.
pub fn record<T, E>(f: impl FnOnce() -> std::result::Result<T, E>) -> std::result::Result<(T, Tape), E> {
    let open = Open::begin();
    let made = f()?;
    Ok((made, open.end()))
}

/// Whether this thread records.
pub fn recording() -> bool {
    OPEN.with_borrow(|open| !open.is_empty())
}

/// Whether a recording is on and a gradient of this tensor wanted: it is trained, or something
/// trained is in it.
pub fn tracked(t: &Tensor) -> bool {
    t.is_variable() && recording()
}

/// Refuses what candle's own operations have made of a tracked tensor during a recording.
fn check(t: &Tensor) -> Result<()> {
    if t.track_op() && !t.is_variable() && recording() {
        bail!("an operation of candle's has made a tensor {:?} that the tape does not know; use `composed`", t.dims());
    }
    Ok(())
}

/// An operand, contiguous. Errors where its gradient would be lost.
pub(crate) fn operand(t: &Tensor) -> Result<Tensor> {
    check(t)?;
    t.contiguous()
}

fn push(output: &Tensor, backward: impl FnOnce(Tensor, &mut Gradients) -> Result<()> + 'static) {
    let node = Node { output: output.id(), backward: Box::new(backward) };
    OPEN.with_borrow_mut(|open| open.last_mut().map(|tape| tape.nodes.push(node)));
}

/// The result of an operation in host memory. If one of its `inputs` is tracked, so is the result,
/// and `backward` is kept for it: from the (contiguous) gradient of the result, and which inputs
/// are tracked, to the gradients of the inputs.
pub(crate) fn node<'t, const N: usize>(
    values: Vec<f32>,
    shape: impl Into<Shape>,
    inputs: [impl Into<Option<&'t Tensor>>; N],
    backward: impl FnOnce(&Tensor, [bool; N]) -> Result<[Option<Tensor>; N]> + 'static,
) -> Result<Tensor> {
    made(Storage::Cpu(CpuStorage::F32(values)), shape, inputs, backward)
}

/// The same for a result in the memory of any device, of which no copy is made: `storage` holds the
/// values of `shape`, contiguous.
pub(crate) fn made<'t, const N: usize>(
    storage: Storage,
    shape: impl Into<Shape>,
    inputs: [impl Into<Option<&'t Tensor>>; N],
    backward: impl FnOnce(&Tensor, [bool; N]) -> Result<[Option<Tensor>; N]> + 'static,
) -> Result<Tensor> {
    noted(storage, shape, inputs, |dy, wanted, _| backward(dy, wanted))
}

/// The same for an operation whose backward pass can add the gradient of its first input to what
/// there is of it from other uses: `backward` may take that, and gives the sum in its place.
#[cfg(feature = "cuda")]
pub(crate) fn made_onto<'t, const N: usize>(
    storage: Storage,
    shape: impl Into<Shape>,
    inputs: [impl Into<Option<&'t Tensor>>; N],
    backward: impl FnOnce(&Tensor, [bool; N], SoFar) -> Result<[Option<Tensor>; N]> + 'static,
) -> Result<Tensor> {
    noted(storage, shape, inputs, backward)
}

/// The gradient of an operation's first input, as far as later uses of it have made it.
pub(crate) struct SoFar<'g> {
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "what takes it is for a card"))]
    gradients: &'g mut Gradients,
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "what takes it is for a card"))]
    of: Option<TensorId>,
}

#[cfg(feature = "cuda")]
impl SoFar<'_> {
    /// Takes it out; nothing where there was no later use, or no gradient is wanted.
    pub(crate) fn take(self) -> Option<Tensor> {
        self.gradients.0.remove(&self.of?)
    }
}

fn noted<'t, const N: usize>(
    storage: Storage,
    shape: impl Into<Shape>,
    inputs: [impl Into<Option<&'t Tensor>>; N],
    backward: impl FnOnce(&Tensor, [bool; N], SoFar) -> Result<[Option<Tensor>; N]> + 'static,
) -> Result<Tensor> {
    let shape = shape.into();
    if let Storage::Cpu(CpuStorage::F32(values)) = &storage
        && values.len() != shape.elem_count()
    {
        bail!("an operation has made {} values for {shape:?}", values.len());
    }
    let inputs = inputs.map(Into::into);
    let wanted = inputs.map(|t| t.is_some_and(tracked));
    let noted = wanted != [false; N];
    let output = Tensor::from_storage(storage, shape, BackpropOp::none(), noted);
    if !noted {
        return Ok(output);
    }
    let inputs = inputs.map(|t| t.map(Tensor::id));
    push(&output, move |dy, gradients| {
        let of = inputs.first().copied().flatten().filter(|_| wanted[0]);
        let made = backward(&dy, wanted, SoFar { gradients, of })?;
        drop(dy);
        for ((input, wanted), gradient) in inputs.into_iter().zip(wanted).zip(made) {
            if let (Some(input), true, Some(gradient)) = (input, wanted, gradient) {
                gradients.add(input, gradient)?;
            }
        }
        Ok(())
    });
    Ok(output)
}

/// A function that is composed of candle's differentiable operations, as one operation: for any
/// device and type, and for what is too rare or too small for a body of its own. `f` sees the
/// inputs, in their order, as tensors whose operations candle notes if they are tracked.
pub fn composed(inputs: &[&Tensor], f: impl FnOnce(&[Tensor]) -> Result<Tensor>) -> Result<Tensor> {
    inputs.iter().try_for_each(|t| check(t))?;
    let mut arguments: Vec<Tensor> =
        inputs.iter().map(|t| if tracked(t) { (*t).clone() } else { t.detach() }).collect();
    let y = f(&arguments)?;
    arguments.retain(Tensor::is_variable);
    if arguments.is_empty() {
        return Ok(y);
    }
    // A copy: candle's graph holds y, and there is no second tensor over the same memory that is
    // marked as trained.
    let output = Var::from_tensor(&y.detach())?.into_inner();
    push(&output, move |dy, gradients| {
        // The gradient of Σ y · dy with respect to y is dy. What candle leaves as gradients may
        // still hang on its graph, whose operations must not be differentiated with what comes
        // before.
        let mut store = (y * dy.detach())?.sum_all()?.backward()?;
        // An argument that is there twice has one gradient, of both its uses.
        for argument in arguments {
            if let Some(gradient) = store.remove(&argument) {
                gradients.add(argument.id(), gradient.detach())?;
            }
        }
        Ok(())
    });
    Ok(output)
}

/// Makes `output`, the result of a recording within this one, known to this one. `inner` gives the
/// inner recording when it is backward's turn: what was kept of it, or a second one of the same
/// computation. The sums within a section are those of its own tape, so both give the same
/// gradients to the last bit.
pub fn section(output: &Tensor, inner: impl FnOnce() -> Result<(Tensor, Tape)> + 'static) {
    if tracked(output) {
        push(output, move |dy, gradients| {
            let (output, tape) = inner()?;
            tape.backward_from(&output, dy)?.0.into_iter().try_for_each(|(id, gradient)| gradients.add(id, gradient))
        });
    }
}

impl Tape {
    /// The gradients of a recorded scalar.
    pub fn backward(self, loss: &Tensor) -> Result<Gradients> {
        let one = loss.ones_like()?;
        self.backward_from(loss, one)
    }

    /// The gradients of a recorded tensor whose own gradient is `dy`.
    pub fn backward_from(mut self, output: &Tensor, dy: Tensor) -> Result<Gradients> {
        let mut gradients = Gradients::default();
        if output.is_variable() {
            gradients.add(output.id(), dy)?;
        }
        while let Some(Node { output, backward }) = self.nodes.pop() {
            if let Some(dy) = gradients.0.remove(&output) {
                backward(dy.contiguous()?, &mut gradients)?;
            }
        }
        Ok(gradients)
    }
}

impl Gradients {
    /// The gradient of a trained tensor, if it was reached.
    pub fn get(&self, of: &Tensor) -> Option<&Tensor> {
        self.0.get(&of.id())
    }

    /// The same, taken out.
    pub fn remove(&mut self, of: &Tensor) -> Option<Tensor> {
        self.0.remove(&of.id())
    }

    fn add(&mut self, id: TensorId, gradient: Tensor) -> Result<()> {
        match self.0.entry(id) {
            Entry::Vacant(place) => {
                place.insert(gradient);
            }
            Entry::Occupied(mut sum) => {
                let new = sum::sum(sum.get(), &gradient)?;
                sum.insert(new);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{add, linear, scale};
    use candle_core::{DType, Device};
    use std::cell::Cell;
    use std::rc::Rc;

    fn var(values: &[f32]) -> Tensor {
        Var::new(values, &Device::Cpu).unwrap().into_inner()
    }

    fn values(t: Option<Tensor>) -> Vec<f32> {
        t.unwrap().to_vec1().unwrap()
    }

    /// Σ x, whose gradient is 1.
    fn total(x: &Tensor) -> Result<Tensor> {
        composed(&[x], |t| t[0].sum_all())
    }

    #[test]
    fn gradients_of_several_uses_are_summed() {
        let x = var(&[1.0, -2.0]);
        let run = |f: &dyn Fn() -> Result<Tensor>| {
            let (loss, tape) = record(|| total(&f()?)).unwrap();
            values(tape.backward(&loss).unwrap().remove(&x))
        };
        assert_eq!(run(&|| scale(&x, 3.0)), [3.0; 2]);
        assert_eq!(run(&|| add(&x, &x)), [2.0; 2], "twice in one operation");
        assert_eq!(run(&|| add(&scale(&x, 3.0)?, &x)), [4.0; 2]);
        assert_eq!(run(&|| add(&add(&scale(&x, 3.0)?, &x)?, &scale(&x, 0.5)?)), [4.5; 2], "three times");
        let square = || composed(&[&x, &x], |t| &t[0] * &t[1]);
        assert_eq!(run(&|| add(&square()?, &x)), [3.0, -3.0], "2x + 1");
    }

    /// Candle's gradient of a product hangs on its graph through the other factor.
    #[test]
    fn chained_compositions_know_nothing_of_each_others_graphs() {
        let (x, w) = (var(&[1.0, -2.0]), var(&[3.0, 5.0]));
        let (loss, tape) = record(|| {
            let y = composed(&[&x, &w], |t| &t[0] * &t[1])?;
            total(&composed(&[&y, &w], |t| &t[0] * &t[1])?)
        })
        .unwrap();
        let mut gradients = tape.backward(&loss).unwrap();
        assert!(!gradients.get(&w).unwrap().track_op());
        assert_eq!(values(gradients.remove(&w)), [6.0, -20.0], "2 x w");
        assert_eq!(values(gradients.remove(&x)), [9.0, 25.0], "w²");
    }

    #[test]
    fn only_trained_tensors_have_gradients_when_it_is_done() {
        let (x, frozen) = (var(&[1.0, 2.0]), Tensor::new(&[3.0f32, 4.0], &Device::Cpu).unwrap());
        let ((a, b, loss), tape) = record(|| {
            let (a, b) = (add(&x, &frozen)?, scale(&frozen, 2.0)?);
            assert!(tracked(&a) && tracked(&x) && !tracked(&b) && !tracked(&frozen));
            let loss = total(&add(&a, &b)?)?;
            Ok::<_, candle_core::Error>((a, b, loss))
        })
        .unwrap();
        assert!(!tracked(&x) && !tracked(&a), "the recording is over");
        assert!(!b.track_op());
        let gradients = tape.backward(&loss).unwrap();
        assert_eq!(gradients.0.len(), 1);
        assert!(gradients.get(&x).is_some());
    }

    #[test]
    fn outside_of_a_recording_nothing_is_kept() {
        let x = var(&[1.0, 2.0]);
        for y in [scale(&x, 2.0).unwrap(), composed(&[&x], |t| t[0].sqr()).unwrap()] {
            assert!(!y.track_op());
        }
    }

    #[test]
    fn a_loss_that_does_not_reach_a_tensor_gives_it_no_gradient() {
        let (x, other) = (var(&[1.0]), var(&[2.0]));
        let (loss, tape) = record(|| {
            scale(&other, 2.0)?;
            total(&x)
        })
        .unwrap();
        let gradients = tape.backward(&loss).unwrap();
        assert!(gradients.get(&x).is_some() && gradients.get(&other).is_none());
        let constant = Tensor::new(1f32, &Device::Cpu).unwrap();
        let (_, tape) = record(|| scale(&x, 2.0)).unwrap();
        assert!(tape.backward(&constant).unwrap().0.is_empty());
    }

    #[test]
    fn a_section_kept_or_run_again_is_the_computation_itself() {
        let (x, w) = (var(&[1.0, 2.0]), var(&[0.5, -0.25]));
        let part = {
            let w = w.clone();
            move |x: &Tensor| composed(&[&x.clone(), &w], |t| (&t[0] * &t[1])?.sqr()).and_then(|y| add(&y, x))
        };
        let run = |mode: usize| {
            let part = part.clone();
            let (loss, tape) = record(|| {
                let x = scale(&x, 3.0)?;
                let y = if mode == 0 {
                    part(&x)?
                } else {
                    let (y, tape) = record(|| part(&x))?;
                    let result = y.clone();
                    let again = {
                        let x = x.clone();
                        move || record(|| part(&x))
                    };
                    section(&y, move || if mode == 1 { Ok((result, tape)) } else { again() });
                    y
                };
                total(&add(&y, &x)?)
            })
            .unwrap();
            let mut gradients = tape.backward(&loss).unwrap();
            assert_eq!(gradients.0.len(), 2);
            [values(gradients.remove(&x)), values(gradients.remove(&w))]
        };
        let plain = run(0);
        // d/dx (9 w² x² + 6 x) and d/dw (9 w² x²)
        assert_eq!(plain, [[18.0 * 0.25 + 6.0, 18.0 * 0.0625 * 2.0 + 6.0], [9.0, -18.0]]);
        assert_eq!(run(1), plain);
        assert_eq!(run(2), plain);
    }

    #[test]
    fn an_operation_that_the_tape_does_not_see_is_refused() {
        let x = var(&[1.0, 2.0]);
        for operation in [|x: &Tensor| x + 1.0, |x: &Tensor| scale(x, 2.0)?.reshape((2, 1))] {
            let error = record(|| scale(&operation(&x)?, 2.0)).err().unwrap();
            assert!(error.to_string().contains("use `composed`"), "{error}");
        }
        assert!(!recording(), "an error ends the recording");
        assert!(scale(&(&x + 1.0).unwrap(), 2.0).is_ok());
    }

    struct Counted(Rc<Cell<usize>>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }

    /// Each of three nodes sees that those behind it hold nothing any more.
    #[test]
    fn what_a_node_kept_is_freed_as_soon_as_it_has_been_used() {
        let (x, held) = (var(&[1.0]), Rc::new(Cell::new(0)));
        let seen = Rc::new(RefCell::new(Vec::new()));
        let keeping = |x: &Tensor| {
            held.set(held.get() + 1);
            let (kept, held, seen) = (Counted(Rc::clone(&held)), Rc::clone(&held), Rc::clone(&seen));
            node(vec![1.0], 1, [x], move |dy, _| {
                let _kept = &kept;
                seen.borrow_mut().push(held.get());
                Ok([Some(dy.clone())])
            })
        };
        let (loss, tape) = record(|| keeping(&keeping(&keeping(&x)?)?)).unwrap();
        assert_eq!(held.get(), 3);
        tape.backward(&loss).unwrap();
        assert_eq!((&*seen.borrow(), held.get()), (&vec![3, 2, 1], 0));
    }

    #[test]
    fn gradients_equal_candles_own() {
        let random = |dims: (usize, usize)| Var::randn(0.0, 1.0, dims, &Device::Cpu).unwrap().into_inner();
        let (x, w) = (random((3, 4)), random((4, 4)));
        assert_eq!(x.dtype(), DType::F64);
        let (loss, tape) = record(|| {
            let h = composed(&[&linear(&x, &w, None)?], |t| t[0].tanh())?;
            let h = linear(&add(&scale(&h, 0.7)?, &x)?, &w, None)?;
            composed(&[&h, &x], |t| (&t[0] * t[1].sqr()?)?.sum_all())
        })
        .unwrap();
        let h = (x.matmul(&w.t().unwrap()).unwrap().tanh().unwrap() * 0.7).unwrap();
        let h = (h + &x).unwrap().matmul(&w.t().unwrap()).unwrap();
        let reference = (h * x.sqr().unwrap()).unwrap().sum_all().unwrap();
        assert_eq!(loss.to_string(), reference.to_string());
        let (ours, candles) = (tape.backward(&loss).unwrap(), reference.backward().unwrap());
        for t in [&x, &w] {
            let difference = (ours.get(t).unwrap() - candles.get(t).unwrap()).unwrap().abs().unwrap();
            assert!(difference.max_all().unwrap().to_scalar::<f64>().unwrap() < 1e-12);
        }
    }
}
