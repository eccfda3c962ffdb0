//! How far a whole run is, and how long the rest takes: pure numbers.
//!
//! In: the phases of a run, each with its units of work and what one of them costs in comparison
//! with the others'; then, as the run goes, the units that are done and the seconds that passed.
//! Out: the share that is done, and the seconds that are left. What has been measured in this run
//! counts before what was assumed: a phase's own speed, then that of the same kind of work, then
//! that of all.

/// What a phase's time goes into; phases of one kind are as fast as each other, by their weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Reading and checking: of no speed that says anything about another phase.
    Loading,
    /// Photographs to latents.
    Encoding,
    /// Calls of the UNet that draw.
    Drawing,
    /// Optimizer steps.
    Training,
    /// What encoders see of images.
    Measuring,
}

/// A part of a run, as it is known beforehand.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// As it is shown: `training`.
    pub name: String,
    /// What its time goes into.
    pub work: Work,
    /// All units of work, such as steps.
    pub units: u64,
    /// Units that an earlier process has done.
    pub skipped: u64,
    /// What a unit costs, in forward passes of the UNet over one image of the training's size.
    pub weight: f64,
}

/// A phase under way.
#[derive(Debug, Clone)]
struct Part {
    phase: Phase,
    done: u64,
    /// Of the units done, those that were counted before the phase came to them.
    ahead: u64,
    /// Units done in this process, and the seconds that they took.
    counted: u64,
    seconds: f64,
    /// Where the run goes on when this one ends, if it stands in the middle of another.
    outer: Option<usize>,
}

impl Part {
    fn new(phase: Phase) -> Self {
        let done = phase.skipped.min(phase.units);
        Self { phase, done, ahead: done, counted: 0, seconds: 0.0, outer: None }
    }

    fn left(&self) -> u64 {
        self.phase.units.saturating_sub(self.done)
    }
}

/// What took less than this says nothing: units that were in a cache take no time.
const LEAST_SECONDS: f64 = 0.5;

/// A run's phases, and which of them it is in.
#[derive(Debug, Clone)]
pub struct RunProgress {
    parts: Vec<Part>,
    current: usize,
}

impl RunProgress {
    /// A run that begins with this phase.
    pub fn new(first: Phase) -> Self {
        Self { parts: vec![Part::new(first)], current: 0 }
    }

    /// Adds what is known of the phases to come.
    pub fn expect(&mut self, phases: impl IntoIterator<Item = Phase>) {
        for phase in phases {
            match self.place(&phase.name) {
                Some(at) => self.parts[at] = Part::new(phase),
                None => self.parts.push(Part::new(phase)),
            }
        }
    }

    /// Leaves out a phase that turns out to have nothing to do.
    pub fn leave_out(&mut self, name: &str) {
        if let Some(at) = self.place(name).filter(|at| *at != self.current) {
            self.end(at);
            self.parts[at].phase.units = 0;
            self.parts[at].done = 0;
        }
    }

    /// Begins the phase `name`, which turns out to have so many units; gives its place. One that
    /// nobody expected is added.
    pub fn enter(&mut self, name: &str, units: u64) -> usize {
        let at = self.place(name).unwrap_or_else(|| {
            let phase = Phase { name: name.to_owned(), work: Work::Loading, units, skipped: 0, weight: 1.0 };
            self.parts.push(Part::new(phase));
            self.parts.len() - 1
        });
        let current = self.current;
        let part = &mut self.parts[at];
        part.phase.units = units;
        part.done = part.done.min(units);
        part.ahead = part.ahead.min(units);
        part.outer = Some(current).filter(|outer| *outer != at);
        self.current = at;
        at
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.parts.iter().position(|part| part.phase.name == name)
    }

    /// Seconds that passed in the current phase.
    pub fn spend(&mut self, seconds: f64) {
        let part = &mut self.parts[self.current];
        // Behind its last unit nothing tells what a unit takes.
        if part.left() > 0 {
            part.seconds += seconds;
        }
    }

    /// Counts `n` units of a phase, which is the current one now.
    pub fn inc(&mut self, at: usize, n: u64) {
        self.current = at;
        let part = &mut self.parts[at];
        part.done += n;
        part.counted += n;
        part.phase.units = part.phase.units.max(part.done);
    }

    /// Counts `n` units that an earlier process has done.
    pub fn skip(&mut self, at: usize, n: u64) {
        let part = &mut self.parts[at];
        let known = part.ahead.min(n);
        part.ahead -= known;
        part.done += n - known;
        part.phase.units = part.phase.units.max(part.done);
    }

    /// Ends a phase, whatever of it was counted.
    pub fn end(&mut self, at: usize) {
        let part = &mut self.parts[at];
        (part.done, part.ahead) = (part.phase.units, 0);
        let outer = part.outer.take();
        if let Some(outer) = outer.filter(|outer| at == self.current && self.parts[*outer].left() > 0) {
            self.current = outer;
        }
    }

    /// The current phase: its name, units done, and all.
    pub fn phase(&self) -> (&str, u64, u64) {
        let part = &self.parts[self.current];
        (&part.phase.name, part.done, part.phase.units)
    }

    /// What a unit of the current phase took in this process.
    pub fn seconds_per_unit(&self) -> Option<f64> {
        own_speed(&self.parts[self.current])
    }

    /// From 0 to 1: the seconds behind the run as a share of all, as far as they are known, else by
    /// what was assumed. What an earlier process did counts as if this one had done it.
    pub fn fraction(&self) -> f64 {
        let costs = self.costs();
        // Loading is short, and what it takes says nothing of the rest; alone it is all there is.
        let has_work = self.parts.iter().any(|part| part.phase.work != Work::Loading && part.phase.units > 0);
        let sum = |units: fn(&Part) -> u64| -> f64 {
            let counted =
                self.parts.iter().zip(&costs).filter(|(part, _)| !has_work || part.phase.work != Work::Loading);
            counted.map(|(part, cost)| units(part) as f64 * cost).sum()
        };
        let (done, all) = (sum(|part| part.done), sum(|part| part.phase.units));
        if all > 0.0 { done / all } else { 0.0 }
    }

    /// Seconds until the run's end, `since` seconds after the last unit; `None` before anything was
    /// measured.
    pub fn seconds_left(&self, since: f64) -> Option<f64> {
        self.speed_of_all()?;
        let left = |at: usize, cost: f64| {
            let units = self.parts[at].left() as f64;
            // Of the unit that is under way something is done.
            if at == self.current { units * cost - since.min(cost) } else { units * cost }
        };
        Some(self.costs().into_iter().enumerate().map(|(at, cost)| left(at, cost).max(0.0)).sum())
    }

    /// What a unit of each phase costs: seconds, or only weights where nothing was measured.
    fn costs(&self) -> Vec<f64> {
        let Some(all) = self.speed_of_all() else { return self.parts.iter().map(|part| part.phase.weight).collect() };
        let cost = |part: &Part| {
            own_speed(part).unwrap_or_else(|| part.phase.weight * self.speed(part.phase.work).unwrap_or(all))
        };
        self.parts.iter().map(cost).collect()
    }

    /// Seconds for a weight of one, of a kind of work.
    fn speed(&self, work: Work) -> Option<f64> {
        speed(self.parts.iter().filter(|part| part.phase.work == work))
    }

    fn speed_of_all(&self) -> Option<f64> {
        speed(self.parts.iter().filter(|part| part.phase.work != Work::Loading))
    }
}

fn own_speed(part: &Part) -> Option<f64> {
    (part.counted > 0 && part.seconds >= LEAST_SECONDS).then(|| part.seconds / part.counted as f64)
}

fn speed<'a>(parts: impl Iterator<Item = &'a Part>) -> Option<f64> {
    let (seconds, weights) = parts.fold((0.0, 0.0), |(seconds, weights), part| {
        (seconds + part.seconds, weights + part.counted as f64 * part.phase.weight)
    });
    // A phase under way without a unit has no speed yet.
    (weights > 0.0 && seconds >= LEAST_SECONDS).then(|| seconds / weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(name: &str, work: Work, units: u64, weight: f64) -> Phase {
        Phase { name: name.to_owned(), work, units, skipped: 0, weight }
    }

    /// Loading, 10 units of drawing at 2, 20 steps at 3, the same drawing again.
    fn run() -> RunProgress {
        let mut run = RunProgress::new(phase("loading", Work::Loading, 1, 10.0));
        run.expect([
            phase("base pictures", Work::Drawing, 10, 2.0),
            phase("training", Work::Training, 20, 3.0),
            phase("tuned pictures", Work::Drawing, 10, 2.0),
        ]);
        run
    }

    fn work(run: &mut RunProgress, at: usize, units: u64, seconds: f64) {
        for _ in 0..units {
            run.spend(seconds);
            run.inc(at, 1);
        }
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn before_anything_is_measured_the_share_is_of_the_weights_and_no_time_is_told() {
        let mut run = run();
        assert_eq!((run.fraction(), run.seconds_left(3.0), run.seconds_per_unit()), (0.0, None, None));
        run.spend(7.0);
        run.inc(0, 1);
        // Loading says nothing of the speed of the rest: 7 s beside 10 + 10 * 2 … would be mixed.
        assert_eq!(run.seconds_left(0.0), None);
    }

    #[test]
    fn measured_speeds_come_before_assumed_ones() {
        let mut run = run();
        run.spend(7.0);
        run.inc(0, 1);
        run.end(0);
        let base = run.enter("base pictures", 10);
        work(&mut run, base, 5, 4.0);
        // A weight of one takes 2 s: 5 * 4 here, 20 * 3 * 2 of training, 10 * 4 of the same drawing.
        close(run.seconds_left(0.0).unwrap(), 20.0 + 120.0 + 40.0);
        close(run.fraction(), 20.0 / (40.0 + 120.0 + 40.0));
        close(run.seconds_per_unit().unwrap(), 4.0);
        work(&mut run, base, 5, 4.0);
        run.end(base);
        let training = run.enter("training", 20);
        work(&mut run, training, 4, 1.0);
        // Steps are measured now, and pictures are still as they were.
        close(run.seconds_left(0.0).unwrap(), 16.0 + 40.0);
        close(run.fraction(), (40.0 + 4.0) / (40.0 + 20.0 + 40.0));
    }

    #[test]
    fn what_was_in_a_cache_says_nothing_of_what_was_not() {
        let mut run = run();
        run.spend(7.0);
        run.inc(0, 1);
        run.end(0);
        let base = run.enter("base pictures", 10);
        work(&mut run, base, 10, 0.0);
        run.end(base);
        // By the weights: 10 * 2 of 10 * 2 + 20 * 3 + 10 * 2.
        close(run.fraction(), 0.2);
        assert_eq!(run.seconds_left(0.0), None);
        let training = run.enter("training", 20);
        work(&mut run, training, 4, 1.0);
        assert!(run.fraction() < 0.5, "{}", run.fraction());
    }

    #[test]
    fn the_time_left_runs_on_between_two_units_but_not_below_the_next_one() {
        let mut run = run();
        run.end(0);
        let base = run.enter("base pictures", 10);
        work(&mut run, base, 10, 4.0);
        run.end(base);
        let training = run.enter("training", 20);
        work(&mut run, training, 19, 1.0);
        close(run.seconds_left(0.0).unwrap(), 1.0 + 40.0);
        close(run.seconds_left(0.4).unwrap(), 0.6 + 40.0);
        close(run.seconds_left(30.0).unwrap(), 40.0);
    }

    #[test]
    fn what_an_earlier_process_did_counts_once_and_has_no_speed() {
        let mut run = RunProgress::new(phase("loading", Work::Loading, 1, 0.0));
        run.expect([Phase { skipped: 15, ..phase("training", Work::Training, 20, 3.0) }]);
        close(run.fraction(), 0.75);
        run.end(0);
        let training = run.enter("training", 20);
        run.skip(training, 15);
        close(run.fraction(), 0.75);
        assert_eq!(run.phase(), ("training", 15, 20));
        work(&mut run, training, 1, 2.0);
        close(run.seconds_left(0.0).unwrap(), 8.0);
        // More than was known beforehand.
        run.skip(training, 2);
        assert_eq!(run.phase(), ("training", 18, 20));
    }

    #[test]
    fn a_phase_in_the_middle_of_another_gives_back_to_it() {
        let mut run = run();
        run.end(0);
        let training = run.enter("training", 20);
        work(&mut run, training, 10, 1.0);
        let pictures = run.enter("pictures at step 10", 4);
        work(&mut run, pictures, 4, 5.0);
        assert_eq!(run.phase(), ("pictures at step 10", 4, 4));
        run.end(pictures);
        assert_eq!(run.phase(), ("training", 10, 20));
        work(&mut run, training, 1, 1.0);
        close(run.seconds_per_unit().unwrap(), 1.0);
        work(&mut run, training, 9, 1.0);
        run.end(training);
        assert_eq!(run.phase(), ("training", 20, 20), "nothing to go back to");
    }

    #[test]
    fn a_phase_with_nothing_to_do_is_left_out_and_totals_may_turn_out_otherwise() {
        let mut run = run();
        run.leave_out("base pictures");
        run.leave_out("unknown");
        run.end(0);
        let training = run.enter("training", 5);
        work(&mut run, training, 5, 6.0);
        run.end(training);
        close(run.seconds_left(0.0).unwrap(), 10.0 * 2.0 * 2.0);
        // More units than there should be are no more than all.
        let tuned = run.enter("tuned pictures", 1);
        work(&mut run, tuned, 3, 1.0);
        close(run.fraction(), 1.0);
        close(run.seconds_left(0.0).unwrap(), 0.0);
    }
}
