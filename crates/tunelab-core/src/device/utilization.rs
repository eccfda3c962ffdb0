//! How busy a CUDA device is, as its driver counts it (NVML).
//!
//! In: the device. Out: for each interval of time the share during which it computed anything, in
//! per cent, whoever it computed for. A thread asks the driver a few times a second and ends with
//! the value that started it. Where the driver does not tell (a container may lack the library, a
//! part of a card has no such number) nothing is known, which is no error.

use candle_core::Device;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Between two questions. The driver's answer is about the last sixth of a second to second, as the
/// card has it.
const PERIOD: Duration = Duration::from_millis(250);

/// Asks the driver once.
type Ask = Box<dyn FnMut() -> Option<f64> + Send>;

/// A device that is watched for as long as this value lives.
pub struct GpuUtilization {
    seen: Arc<Mutex<Seen>>,
    /// The thread, and what it ends with.
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

/// The driver's answers.
#[derive(Default)]
struct Seen {
    /// Of the interval so far.
    sum: f64,
    count: u32,
    /// The newest of all.
    latest: Option<f64>,
}

impl GpuUtilization {
    /// Watches a device.
    pub fn watch(device: &Device) -> Self {
        match driver(device) {
            Some(ask) => Self::start(ask, PERIOD),
            None => Self { seen: Arc::default(), thread: None },
        }
    }

    fn start(mut ask: Ask, period: Duration) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let (stop, stopped) = mpsc::channel();
        let shared = Arc::clone(&seen);
        let watch = move || {
            while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                if let Some(percent) = ask() {
                    shared.lock().unwrap_or_else(PoisonError::into_inner).add(percent);
                }
            }
        };
        // A system without room for a thread has other worries than this number.
        let thread = thread::Builder::new().name("utilization".to_owned()).spawn(watch).ok();
        Self { seen, thread: thread.map(|thread| (stop, thread)) }
    }

    /// Begins an interval.
    pub fn begin(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.sum, seen.count) = (0.0, 0);
    }

    /// The mean of the interval so far, in per cent. One that is shorter than the driver's own has
    /// its newest answer.
    pub fn percent(&self) -> Option<f64> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).percent()
    }
}

impl Drop for GpuUtilization {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            // What went wrong in it is no loss to what was watched.
            let _ = thread.join();
        }
    }
}

impl Seen {
    fn add(&mut self, percent: f64) {
        self.sum += percent;
        self.count += 1;
        self.latest = Some(percent);
    }

    fn percent(&self) -> Option<f64> {
        if self.count > 0 { Some(self.sum / f64::from(self.count)) } else { self.latest }
    }
}

/// The driver, if it tells of this device.
#[cfg(feature = "cuda")]
fn driver(device: &Device) -> Option<Ask> {
    // The driver's numbers of cards are not CUDA's where CUDA_VISIBLE_DEVICES is set.
    let uuid = tunelab_ops::cuda::card::uuid(device)?;
    let nvml = nvml_wrapper::Nvml::init().ok()?;
    let ask = move || Some(f64::from(nvml.device_by_uuid(uuid.as_str()).ok()?.utilization_rates().ok()?.gpu));
    ask().is_some().then(|| Box::new(ask) as Ask)
}

#[cfg(not(feature = "cuda"))]
fn driver(_: &Device) -> Option<Ask> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_the_mean_of_its_answers_or_else_the_newest() {
        let mut seen = Seen::default();
        assert_eq!(seen.percent(), None);
        seen.add(20.0);
        seen.add(50.0);
        let busy = GpuUtilization { seen: Arc::new(Mutex::new(seen)), thread: None };
        assert_eq!(busy.percent(), Some(35.0));
        busy.begin();
        assert_eq!(busy.percent(), Some(50.0));
    }

    #[test]
    fn the_thread_asks_and_ends_with_its_value() {
        let (told, asked) = mpsc::channel();
        // What is not answered does not count.
        let mut answers = [Some(10.0), None, Some(40.0)].into_iter();
        let ask = move || {
            let answer = answers.next().flatten();
            let _ = told.send(());
            answer
        };
        let busy = GpuUtilization::start(Box::new(ask), Duration::from_millis(1));
        // The fourth question comes after the third answer is noted.
        (0..4).for_each(|_| asked.recv().unwrap());
        assert_eq!(busy.percent(), Some(25.0));
        drop(busy);
        // This ends, for whoever asked is gone.
        asked.iter().for_each(drop);
    }

    #[test]
    fn of_the_cpu_nothing_is_known() {
        let busy = GpuUtilization::watch(&Device::Cpu);
        busy.begin();
        assert_eq!(busy.percent(), None);
    }
}
