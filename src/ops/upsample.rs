//! Nearest-neighbour upsampling: x [B, C, H, W] → [B, C, H', W'], y[i, j] = x[⌊i H / H'⌋, ⌊j W / W'⌋].
//!
//! candle's own operation is not used because its backward overwrites what its argument had accumulated.

use super::host;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Upsamples to `height` x `width`, which need not be multiples of x's.
pub fn upsample_nearest(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    if h == 0 || w == 0 || height < h || width < w {
        bail!("upsample_nearest: {h}x{w} cannot become {height}x{width}");
    }
    if host::is_host_f32(x) {
        return x.contiguous()?.apply_op1(Kernel { h, w, height, width });
    }
    let rows: Vec<u32> = (0..height).map(|i| (i * h / height) as u32).collect();
    let columns: Vec<u32> = (0..width).map(|j| (j * w / width) as u32).collect();
    let rows = Tensor::from_vec(rows, height, x.device())?;
    let columns = Tensor::from_vec(columns, width, x.device())?;
    x.index_select(&rows, 2)?.index_select(&columns, 3)
}

struct Kernel {
    h: usize,
    w: usize,
    height: usize,
    width: usize,
}

impl CustomOp1 for Kernel {
    fn name(&self) -> &'static str {
        "upsample_nearest"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = host::slice(x, layout)?;
        let (b, c, _, _) = layout.shape().dims4()?;
        let mut y = vec![0.0; b * c * self.height * self.width];
        y.par_chunks_exact_mut(self.height * self.width).zip(x.par_chunks_exact(self.h * self.w)).for_each(|(y, x)| {
            for (i, y) in y.chunks_exact_mut(self.width).enumerate() {
                let x = &x[i * self.h / self.height * self.w..];
                y.iter_mut().enumerate().for_each(|(j, y)| *y = x[j * self.w / self.width]);
            }
        });
        Ok((CpuStorage::F32(y), (b, c, self.height, self.width).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let dy = host::values(&dy)?;
        let mut dx = vec![0.0; x.elem_count()];
        dx.par_chunks_exact_mut(self.h * self.w).zip(dy.par_chunks_exact(self.height * self.width)).for_each(
            |(dx, dy)| {
                for (i, dy) in dy.chunks_exact(self.width).enumerate() {
                    let dx = &mut dx[i * self.h / self.height * self.w..];
                    dy.iter().enumerate().for_each(|(j, dy)| dx[j * self.w / self.width] += dy);
                }
            },
        );
        host::tensor(dx, x.dims()).map(Some)
    }
}
