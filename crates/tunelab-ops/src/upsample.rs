//! Nearest-neighbor upsampling: x [B, C, H, W] → [B, C, H', W'], y[i, j] = x[⌊i H / H'⌋, ⌊j W /
//! W'⌋].
//!
//! In: an image and a size. Out: an image of that size, noted on the tape.
//!
//! candle's own operation is not used because its backward overwrites what its argument had
//! accumulated.

use crate::cpu::host;
use crate::cpu::uninit_output::par_fill;
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::tape::{composed, node, operand};
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

/// Upsamples to `height` x `width`, which need not be multiples of x's.
pub fn upsample_nearest(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    if h == 0 || w == 0 || height < h || width < w {
        bail!("upsample_nearest: {h}x{w} cannot become {height}x{width}");
    }
    #[cfg(feature = "cuda")]
    if cuda::supports(x) {
        return cuda::layout::upsample(x, height, width);
    }
    if host::is_host_f32(x) {
        let (x, kernel) = (operand(x)?, Kernel { h, w, height, width });
        return node(kernel.forward(&x)?, (b, c, height, width), [&x], move |dy, _| {
            Ok([Some(host::tensor(kernel.backward(dy)?, (b, c, h, w))?)])
        });
    }
    let rows: Vec<u32> = (0..height).map(|i| (i * h / height) as u32).collect();
    let columns: Vec<u32> = (0..width).map(|j| (j * w / width) as u32).collect();
    let rows = Tensor::from_vec(rows, height, x.device())?;
    let columns = Tensor::from_vec(columns, width, x.device())?;
    composed(&[x], |t| t[0].index_select(&rows, 2)?.index_select(&columns, 3))
}

struct Kernel {
    h: usize,
    w: usize,
    height: usize,
    width: usize,
}

impl Kernel {
    fn forward(&self, x: &Tensor) -> Result<Vec<f32>> {
        let x = host::values(x)?;
        let (small, large) = (self.h * self.w, self.height * self.width);
        Ok(par_fill(x.len() / small * large, large, |plane, mut y| {
            for i in 0..self.height {
                let x = &x[plane * small + i * self.h / self.height * self.w..][..self.w];
                y.write(self.width, |j| x[j * self.w / self.width]);
            }
        }))
    }

    fn backward(&self, dy: &Tensor) -> Result<Vec<f32>> {
        let dy = host::values(dy)?;
        let mut dx = vec![0.0; dy.len() / (self.height * self.width) * self.h * self.w];
        dx.par_chunks_exact_mut(self.h * self.w).zip(dy.par_chunks_exact(self.height * self.width)).for_each(
            |(dx, dy)| {
                for (i, dy) in dy.chunks_exact(self.width).enumerate() {
                    let dx = &mut dx[i * self.h / self.height * self.w..];
                    dy.iter().enumerate().for_each(|(j, dy)| dx[j * self.w / self.width] += dy);
                }
            },
        );
        Ok(dx)
    }
}
